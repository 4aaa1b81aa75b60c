"""The face in a video: found now and then, tracked in between, cropped with one box per track.

A box is (left, top, width, height) in pixels. The detector is dlib's: histograms of oriented gradients, whose weights
are compiled into its wheel; benchmarks/README.md has the comparison behind the choice.

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
from avdfd.features.mel import FACE_SIZE
from avdfd.media.decode import Frame

# The detector knows faces from 80 pixels on. The whole picture is searched at these sizes in pixels, and the
# surroundings of a known face at the scales that make the face this wide; each only if the one before showed nothing.
_SEARCHED = (320 * 180, 640 * 480, 960 * 720)
_KNOWN = (96, 144)
# Surroundings searched for a known face, in sides of its box.
_REACH = 2.0
# The whole picture is searched again after this many seconds, for other faces ...
_RESCAN = 3.0
# ... and, as long as there is none, at all sizes after this many: that costs ten times as much as the first size.
_THOROUGH = 1.0
# Overlap (intersection over union) with the box of a track that makes a face part of it.
_SAME = 0.3


class Face(NamedTuple):
    """A detected face."""

    box: np.ndarray
    score: float


class Track:
    """One face over time. Its box is the median of what was found, so it neither jitters nor follows an outlier."""

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
        """Area summed over the times it was seen: large and persistent."""
        return float(np.prod(np.array(self.boxes)[:, 2:], axis=1).sum())


class FaceTracker:
    """Looks for faces in passing frames, `detect_fps` times a second."""

    def __init__(self, config: FaceConfig) -> None:
        self.config = config
        self.tracks: list[Track] = []
        self.looks: list[float] = []
        self._live: list[Track] = []
        self._scanned = self._thorough = -np.inf

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Passes the frames on."""
        for frame in frames:
            if not self.looks or frame.time - self.looks[-1] >= 1 / self.config.detect_fps - 1e-3:
                self.look(frame.time, frame.gray())
            yield frame

    def look(self, time: float, gray: np.ndarray) -> None:
        """Finds the faces of one picture (H, W) and adds them to the tracks they continue."""
        faces = [near(gray, track.box) for track in self._live]
        found = [face for face in faces if face is not None]
        if len(found) < len(faces) or time - self._scanned >= _RESCAN or not faces:
            found += self._scan(time, gray, known=bool(found))
        self.looks.append(time)
        seen: list[Track] = []
        for face in sorted((f for f in found if f.score >= self.config.min_score), key=lambda f: -f.score):
            track = max(self._live + seen, key=lambda t: overlap(t.box, face.box), default=None)
            if track is None or overlap(track.box, face.box) < _SAME:
                track = Track()
                self.tracks.append(track)
            if track not in seen:
                track.add(time, face.box)
                seen.append(track)
        self._live = [t for t in dict.fromkeys(self._live + seen) if time - t.times[-1] < _RESCAN]

    def box(self, start: float, end: float) -> np.ndarray | None:
        """Box of the weightiest track that was found in enough of the looks between two times, or None."""
        looks = sum(start <= time < end for time in self.looks)
        for track in sorted(self.tracks, key=lambda t: -t.weight):
            if looks and sum(start <= time < end for time in track.times) / looks >= self.config.min_found:
                return track.box
        return None

    def _scan(self, time: float, gray: np.ndarray, known: bool) -> list[Face]:
        thorough = not known and time - self._thorough >= _THOROUGH
        faces: list[Face] = []
        for pixels in _SEARCHED if thorough else _SEARCHED[:1]:
            faces = faces or find(gray, (pixels / gray.size) ** 0.5)
        self._scanned = time
        if thorough:
            self._thorough = time
        return faces


def find(gray: np.ndarray, scale: float) -> list[Face]:
    """Faces in a picture (H, W) uint8 that is searched at `scale`."""
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes, scores, _ = _detector().run(small, 0, 0.0)
    return [
        Face(np.array([b.left(), b.top(), b.width(), b.height()]) / scale, score)
        for b, score in zip(boxes, scores, strict=True)
    ]


def near(gray: np.ndarray, box: np.ndarray) -> Face | None:
    """The face in the surroundings of a known one, or None."""
    side = box[2:].max()
    centre = box[:2] + box[2:] / 2
    left, top = np.maximum(centre - side * _REACH / 2, 0).astype(int)
    right, bottom = (centre + side * _REACH / 2).astype(int)
    part = np.ascontiguousarray(gray[top:bottom, left:right])
    if min(part.shape) == 0:
        return None
    offset = np.array([left, top, 0, 0])
    faces: list[Face] = []
    for width in _KNOWN:
        faces = faces or [Face(face.box + offset, face.score) for face in find(part, width / side)]
    return max(faces, key=lambda face: overlap(face.box, box), default=None)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(a[:2], b[:2])
    high = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(a[2] * a[3] + b[2] * b[3]) - shared)


class Square(NamedTuple):
    """A square part of a picture, in pixels."""

    left: int
    top: int
    side: int


def square(shape: tuple[int, ...], box: np.ndarray, margin: float) -> Square:
    """Square around a box, `margin` times its larger side, moved and shrunk to lie in a picture (H, W, ...)."""
    height, width = shape[:2]
    side = min(round(float(box[2:].max()) * margin), height, width)
    centre = box[:2] + box[2:] / 2
    left = min(max(round(float(centre[0]) - side / 2), 0), width - side)
    top = min(max(round(float(centre[1]) - side / 2), 0), height - side)
    return Square(left, top, side)


def crop(picture: np.ndarray, part: Square) -> np.ndarray:
    """A square of a picture (H, W, 3) as (224, 224, 3)."""
    left, top, side = part
    picture = picture[top : top + side, left : left + side]
    return cv2.resize(picture, (FACE_SIZE, FACE_SIZE), interpolation=_interpolation(side / FACE_SIZE))


def _interpolation(shrink: float) -> int:
    """Cubic to enlarge. Linear still weighs every pixel in up to half size, at a fifth of the time of averaging."""
    if shrink <= 1:
        return cv2.INTER_CUBIC
    return cv2.INTER_LINEAR if shrink <= 2 else cv2.INTER_AREA


@functools.cache
def _detector() -> Any:
    return dlib.get_frontal_face_detector()
