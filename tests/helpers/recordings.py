"""Video files whose pictures and sounds tell their time: frame n shows n in binary, the sound clicks at known times."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 10
_TICKS = 90_000


def picture(number: int, height: int = 224, width: int = 224) -> np.ndarray:
    """(H, W, 3) RGB: black and white columns, the digits of `number`, on a grey that keeps codecs from idling."""
    image = np.full((height, width, 3), 128, np.uint8)
    step = width // BITS
    for bit in range(BITS):
        image[height // 4 :, bit * step : (bit + 1) * step] = 235 if number >> bit & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    """Which frame a picture is."""
    step = image.shape[1] // BITS
    middle = image[image.shape[0] * 5 // 8, step // 2 : BITS * step : step].mean(axis=-1)
    return int(sum(1 << bit for bit in range(BITS) if middle[bit] > 128))


def clicks(seconds: float, rate: int, times: Sequence[float]) -> np.ndarray:
    """Samples (S,): weak noise with a burst of 1 kHz, some 4 ms long, centred on each time."""
    t = np.arange(round(seconds * rate)) / rate
    sound = np.random.default_rng(0).normal(0, 0.003, len(t))
    for time in times:
        sound += 0.8 * np.cos(2 * np.pi * 1000 * (t - time)) * np.exp(-(((t - time) / 0.002) ** 2))
    return sound


def record(
    path: Path,
    times: Sequence[float],
    sound: np.ndarray | None,
    *,
    rate: int = 44_100,
    layout: str = "mono",
    size: tuple[int, int] = (224, 224),
    codec: str = "libx264",
    audio_codec: str = "aac",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    pictures: Sequence[np.ndarray] | None = None,
) -> Path:
    """Writes frames shown from `times` (seconds) on and samples (S,) or (channels, S); either may be empty or None."""
    with av.open(str(path), "w") as container:
        if len(times):
            video = container.add_stream(codec, rate=30, options=options or {"bf": "0", "g": "12"})
            video.height, video.width = size
            video.pix_fmt = pix_fmt
            video.time_base = video.codec_context.time_base = Fraction(1, _TICKS)
            if rotation:
                if not hasattr(video, "set_display_rotation"):
                    pytest.skip("this PyAV cannot write a display matrix")
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
        for number, time in enumerate(times):
            image = picture(number, *size) if pictures is None else pictures[number]
            frame = av.VideoFrame.from_ndarray(image).reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        if len(times):
            container.mux(video.encode())
        if sound is not None:
            samples = np.atleast_2d(sound).astype(np.float32)
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            piece.rate = rate
            if audio_codec != "aac":
                piece = av.AudioResampler(format=audio.format.name).resample(piece)[0]
            container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path
