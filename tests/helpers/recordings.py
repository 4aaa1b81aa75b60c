"""Video files with verifiable timing: frame n shows n in binary, the audio has clicks at known times."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 10
_TICKS = 90_000


def numbered_frame(number: int, height: int = 224, width: int = 224) -> np.ndarray:
    """Return an image (H, W, 3) with `number` in binary as black and white columns below a grey band."""
    image = np.full((height, width, 3), 128, np.uint8)
    step = width // BITS
    for bit in range(BITS):
        image[height // 4 :, bit * step : (bit + 1) * step] = 235 if number >> bit & 1 else 20
    return image


def frame_number(image: np.ndarray) -> int:
    """Return the number that a numbered frame shows."""
    step = image.shape[1] // BITS
    middle = image[image.shape[0] * 5 // 8, step // 2 : BITS * step : step].mean(axis=-1)
    return int(sum(1 << bit for bit in range(BITS) if middle[bit] > 128))


def clicks(seconds: float, rate: int, times: Sequence[float]) -> np.ndarray:
    """Return samples (S,): weak noise with a burst of 1 kHz, about 4 ms long, centred on each time."""
    t = np.arange(round(seconds * rate)) / rate
    audio = np.random.default_rng(0).normal(0, 0.003, len(t))
    for time in times:
        audio += 0.8 * np.cos(2 * np.pi * 1000 * (t - time)) * np.exp(-(((t - time) / 0.002) ** 2))
    return audio


def record(
    path: Path,
    times: Sequence[float],
    audio: np.ndarray | None,
    *,
    rate: int = 44_100,
    layout: str = "mono",
    size: tuple[int, int] = (224, 224),
    codec: str = "libx264",
    audio_codec: str = "aac",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    images: Sequence[np.ndarray] | None = None,
) -> Path:
    """Write frames shown at `times` (seconds) and audio (S,) or (channels, S); `times` may be empty, `audio` None."""
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
        if audio is not None:
            audio_stream = container.add_stream(audio_codec, rate=rate, layout=layout)
        for number, time in enumerate(times):
            image = numbered_frame(number, *size) if images is None else images[number]
            frame = av.VideoFrame.from_ndarray(image).reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        if len(times):
            container.mux(video.encode())
        if audio is not None:
            samples = np.atleast_2d(audio).astype(np.float32)
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            piece.rate = rate
            if audio_codec != "aac":
                piece = av.AudioResampler(format=audio_stream.format.name).resample(piece)[0]
            container.mux(audio_stream.encode(piece))
            container.mux(audio_stream.encode())
    return path
