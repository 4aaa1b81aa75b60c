"""Drawings of a reconstruction: original, masked and reconstructed window side by side, as an image and as a video."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE
from avdfd.media.mux import encode_mp4

if TYPE_CHECKING:  # the names of the files are needed before torch is
    from avdfd.inference.reconstruction import Reconstruction, Views

SUFFIXES = (".png", ".mp4")
_NAMES = ("original", "masked", "reconstructed")
_SIDE = 448  # pixels of a panel's width
_COLUMNS = 4  # frames in a row of the image
_SPECTROGRAM, _HEAD, _FOOT, _GAP = 144, 28, 28, 12  # pixels
_BITS_PER_SECOND = 64_000
_GREY, _WHITE, _BLACK = 128, (255, 255, 255), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(made: "Reconstruction", suffix: str) -> bytes:
    """Return a reconstruction as a file of one of SUFFIXES."""
    return still(made) if suffix == ".png" else clip(made)


def still(made: "Reconstruction") -> bytes:
    """Draw all frames, in rows of four, above the spectrogram, three times: PNG."""
    panels = [_grid(frames) for frames in _three(made.video)]
    return cv2.imencode(".png", _page(made, panels, _spectrograms(made.audio)))[1].tobytes()


def clip(made: "Reconstruction") -> bytes:
    """Draw each frame for its time above the spectrogram with a cursor, three times, and play the audio: MP4."""
    audio = np.asarray(made.waveform, np.float32)
    return encode_mp4(_moments(made), audio, start=0.0, rate=SAMPLE_RATE, bit_rate=_BITS_PER_SECOND)


def _moments(made: "Reconstruction") -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time and the image (H, W, 3) uint8 BGR of every frame of the window."""
    spectrograms = _spectrograms(made.audio)
    count = len(made.video.original)
    for frame in range(FRAMES):
        shown = frame * count // FRAMES
        panels = [_resized(frames[shown], _SIDE) for frames in _three(made.video)]
        marked = [image.copy() for image in spectrograms]
        for image in marked:
            x = round((frame + 0.5) / FRAMES * (_SIDE - 1))
            cv2.line(image, (x, 0), (x, _SPECTROGRAM), _WHITE, 2)
        yield frame / FPS, _page(made, panels, marked)


def _page(made: "Reconstruction", panels: list[np.ndarray], spectrograms: list[np.ndarray]) -> np.ndarray:
    """Put three panels (H, 448, 3) with names above and spectrograms below side by side: BGR, of even sides."""
    columns = []
    for name, panel, spectrogram in zip(_NAMES, panels, spectrograms, strict=True):
        head = np.full((_HEAD, _SIDE, 3), 255, np.uint8)
        cv2.putText(head, name, (2, _HEAD - 9), _FONT, 0.6, _BLACK, 1, cv2.LINE_AA)
        columns.append(np.vstack([head, panel, np.full((_GAP, _SIDE, 3), 255, np.uint8), spectrogram]))
    gap = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    body = np.hstack([columns[0], gap, columns[1], gap, columns[2]])
    foot = np.full((_FOOT, body.shape[1], 3), 255, np.uint8)
    said = (
        f"error of the normalised targets: video {made.video.error:.3f}, audio {made.audio.error:.3f} "
        "(a constant: 1); means and contrasts are those of the original"
    )
    cv2.putText(foot, said, (2, _FOOT - 9), _FONT, 0.5, _BLACK, 1, cv2.LINE_AA)
    return np.vstack([body, foot])


def _three(views: "Views") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return views.original, views.masked, views.restored


def _grid(frames: np.ndarray) -> np.ndarray:
    """Arrange frames (T, S, S, 3) RGB in rows: BGR, 448 pixels wide."""
    small = [_resized(frame, _SIDE // _COLUMNS) for frame in frames]
    small += [np.full_like(small[0], 255)] * (-len(small) % _COLUMNS)
    rows = [np.hstack(small[first : first + _COLUMNS]) for first in range(0, len(small), _COLUMNS)]
    return np.vstack(rows)


def _resized(frame: np.ndarray, side: int) -> np.ndarray:
    """Resize a frame (S, S, 3) RGB to a side: BGR."""
    how = cv2.INTER_AREA if side < len(frame) else cv2.INTER_CUBIC
    return np.asarray(cv2.cvtColor(cv2.resize(frame, (side, side), interpolation=how), cv2.COLOR_RGB2BGR))


def _spectrograms(audio: "Views") -> list[np.ndarray]:
    """Draw spectrograms (128, L), hidden parts in grey, all on the scale of the original: BGR, 448 pixels wide."""
    low, high = np.percentile(audio.original, [1, 99])
    return [_spectrogram(image, float(low), float(high)) for image in _three(audio)]


def _spectrogram(image: np.ndarray, low: float, high: float) -> np.ndarray:
    hidden = np.isnan(image[::-1])
    scaled = np.clip((np.nan_to_num(image[::-1]) - low) / max(high - low, 1e-12), 0, 1)
    colours = np.asarray(cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS))
    colours[hidden] = _GREY
    return np.asarray(cv2.resize(colours, (_SIDE, _SPECTROGRAM), interpolation=cv2.INTER_AREA))
