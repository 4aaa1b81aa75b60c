"""Square crops of frames, resized to 224x224. A box is (left, top, width, height) in pixels."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from avdfd.features.window import FACE_SIZE
from avdfd.media.boxes import middle
from avdfd.media.video import Frame


class Square(NamedTuple):
    """Square region of a frame, in pixels."""

    left: int
    top: int
    side: int


class WindowFace(NamedTuple):
    """Face that a window is cropped to."""

    number: int
    """Position among the faces of the file, the largest and most persistent first, from 1."""
    present: int
    """Faces that the window could have been cropped to."""
    judged: bool
    """True for the one that is taken without `all_faces`."""
    speaks: bool
    """True if its mouth moves with the audio, more clearly than that of another face."""
    time: float
    """Seconds: middle of the window."""
    box: tuple[int, int, int, int]
    """Left, top, width, height at that time in pixels."""
    squares: np.ndarray
    """(T, 3) left, top and side of the crop of each frame."""

    def facts(self) -> dict[str, Any]:
        """Return all but the squares, by name."""
        place = dict(zip(("left", "top", "width", "height"), self.box, strict=True))
        return {"number": self.number, "present": self.present, "speaks": self.speaks, "time": self.time, **place}


def square(shape: tuple[int, ...], box: np.ndarray, margin: float) -> Square:
    """Return the square around a box, `margin` times its larger side, moved and shrunk into a frame (H, W, ...)."""
    height, width = shape[:2]
    side = min(round(float(box[2:].max()) * margin), height, width)
    centre = middle(box)
    left = min(max(round(float(centre[0]) - side / 2), 0), width - side)
    top = min(max(round(float(centre[1]) - side / 2), 0), height - side)
    return Square(left, top, side)


def own_square(frame: Frame, region: Square) -> Square:
    """Return a square of the first frame's size in the pixels of a frame that may have another one."""
    fit = frame.fit
    if fit is None:
        return region
    shape = (round((fit.height - 2 * fit.top) / fit.scale), round((fit.width - 2 * fit.left) / fit.scale))
    place = np.array([region.left - fit.left, region.top - fit.top, region.side, region.side]) / fit.scale
    return square(shape, place, 1.0)


def crop(frame: Frame, region: Square) -> np.ndarray:
    """Cut a square out of a frame and resize it to (224, 224, 3), with blue first."""
    return resize(frame.bgr_square(*region))


def resize(image: np.ndarray) -> np.ndarray:
    """Resize an image (H, W, 3) to (224, 224, 3), whatever its proportions."""
    if image.shape[:2] == (FACE_SIZE, FACE_SIZE):
        return image
    shrink = max(image.shape[:2]) / FACE_SIZE
    return cv2.resize(image, (FACE_SIZE, FACE_SIZE), interpolation=_interpolation(shrink))


def _interpolation(shrink: float) -> int:
    """Choose the interpolation: cubic to enlarge, linear to shrink by up to 2, area averaging beyond.

    Up to a factor of 2, linear interpolation still uses every pixel and takes a fifth of the time of averaging.
    """

    if shrink <= 1:
        return cv2.INTER_CUBIC
    return cv2.INTER_LINEAR if shrink <= 2 else cv2.INTER_AREA
