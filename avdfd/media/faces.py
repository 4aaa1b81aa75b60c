"""Face detection at intervals, tracking in between, and crops with one box per track.

A box is (left, top, width, height) in pixels. The detector is dlib's, on histograms of oriented gradients, with weights
compiled into its wheel; docs/benchmarks.md compares it with others.

References: Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005; King, "Max-margin
object detection", arXiv 1502.00046.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import dlib
import numpy as np

from avdfd.config import FaceConfig
from avdfd.features.window import FACE_SIZE
from avdfd.media.video import Frame

# The detector finds faces of 80 pixels and more. The whole frame is searched at the sizes _FRAME_PIXELS, the region
# around a known face at the scales that make the face _FACE_WIDTHS wide; in order, until a face is found.
_FRAME_PIXELS = (320 * 180, 640 * 480, 960 * 720)
_FACE_WIDTHS = (96, 144)
# Side of the region searched for a known face, relative to the side of its box.
_REGION = 2.0
# Seconds after which the whole frame is searched for further faces.
_RESCAN = 3.0
# Seconds after which, while there is no face, all sizes are searched: ten times the time of the first size.
_FULL_RESCAN = 1.0
# Intersection over union with the box of a track from which a face belongs to that track.
_SAME_TRACK = 0.3


class Face(NamedTuple):
    """Detected face."""

    box: np.ndarray
    score: float


class Track:
    """One face over time; its box is the median of the detected boxes, so that it neither jitters nor has outliers."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.boxes: list[np.ndarray] = []

    def add(self, time: float, box: np.ndarray) -> None:
        self.times.append(time)
        self.boxes.append(box)

    @property
    def box(self) -> np.ndarray:
        return np.median(self.boxes, axis=0)

    @property
    def weight(self) -> float:
        """Area summed over the detections: high for large and persistent faces."""
        return float(np.prod(np.array(self.boxes)[:, 2:], axis=1).sum())


class FaceTracker:
    """Detector and tracker of the faces in a stream of frames, run `detect_fps` times a second."""

    def __init__(self, config: FaceConfig) -> None:
        self.config = config
        self.tracks: list[Track] = []
        self.searched: list[float] = []
        """Times of the searched frames."""
        self._live: list[Track] = []
        self._scanned = self._fully_scanned = -np.inf

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames unchanged and search some of them for faces."""
        for frame in frames:
            if not self.searched or frame.time - self.searched[-1] >= 1 / self.config.detect_fps - 1e-3:
                self.search(frame.time, frame.gray())
            yield frame

    def search(self, time: float, gray: np.ndarray) -> None:
        """Find the faces in one frame (H, W) and add them to their tracks."""
        faces = [near(gray, track.box) for track in self._live]
        found = [face for face in faces if face is not None]
        if len(found) < len(faces) or time - self._scanned >= _RESCAN or not faces:
            found += self._scan(time, gray, known=bool(found))
        self.searched.append(time)
        extended: list[Track] = []
        for face in sorted((f for f in found if f.score >= self.config.min_score), key=lambda f: -f.score):
            track = max(self._live + extended, key=lambda t: overlap(t.box, face.box), default=None)
            if track is None or overlap(track.box, face.box) < _SAME_TRACK:
                track = Track()
                self.tracks.append(track)
            if track not in extended:
                track.add(time, face.box)
                extended.append(track)
        self._live = [t for t in dict.fromkeys(self._live + extended) if time - t.times[-1] < _RESCAN]

    def box(self, start: float, end: float) -> np.ndarray | None:
        """Return the box of the highest-weight track found in enough searched frames between two times, or None."""
        searched = sum(start <= time < end for time in self.searched)
        for track in sorted(self.tracks, key=lambda t: -t.weight):
            if searched and sum(start <= time < end for time in track.times) / searched >= self.config.min_found:
                return track.box
        return None

    def _scan(self, time: float, gray: np.ndarray, known: bool) -> list[Face]:
        full = not known and time - self._fully_scanned >= _FULL_RESCAN
        faces: list[Face] = []
        for pixels in _FRAME_PIXELS if full else _FRAME_PIXELS[:1]:
            faces = faces or find(gray, (pixels / gray.size) ** 0.5)
        self._scanned = time
        if full:
            self._fully_scanned = time
        return faces


def find(gray: np.ndarray, scale: float) -> list[Face]:
    """Find the faces in a frame (H, W) uint8, searched at `scale`."""
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes, scores, _ = _detector().run(small, 0, 0.0)
    return [
        Face(np.array([b.left(), b.top(), b.width(), b.height()]) / scale, score)
        for b, score in zip(boxes, scores, strict=True)
    ]


def near(gray: np.ndarray, box: np.ndarray) -> Face | None:
    """Find the face in the region around the box of a known one; return None if there is none."""
    side = box[2:].max()
    centre = box[:2] + box[2:] / 2
    left, top = np.maximum(centre - side * _REGION / 2, 0).astype(int)
    right, bottom = (centre + side * _REGION / 2).astype(int)
    region = np.ascontiguousarray(gray[top:bottom, left:right])
    if min(region.shape) == 0:
        return None
    offset = np.array([left, top, 0, 0])
    faces: list[Face] = []
    for width in _FACE_WIDTHS:
        faces = faces or [Face(face.box + offset, face.score) for face in find(region, width / side)]
    return max(faces, key=lambda face: overlap(face.box, box), default=None)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(a[:2], b[:2])
    high = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(a[2] * a[3] + b[2] * b[3]) - shared)


class Square(NamedTuple):
    """Square region of a frame, in pixels."""

    left: int
    top: int
    side: int


def square(shape: tuple[int, ...], box: np.ndarray, margin: float) -> Square:
    """Return the square around a box, `margin` times its larger side, moved and shrunk into a frame (H, W, ...)."""
    height, width = shape[:2]
    side = min(round(float(box[2:].max()) * margin), height, width)
    centre = box[:2] + box[2:] / 2
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


def crop(image: np.ndarray, region: Square) -> np.ndarray:
    """Cut a square out of a frame (H, W, 3) and resize it to (224, 224, 3)."""
    left, top, side = region
    return resize(image[top : top + side, left : left + side])


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


@functools.cache
def _detector() -> Any:
    return dlib.get_frontal_face_detector()
