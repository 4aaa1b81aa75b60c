"""Faces of a video: found at intervals, followed by the face mesh in between, and their places over time.

A box is (left, top, width, height) in pixels of the file's first frame: the landmarks of the face, from the upper
forehead to the chin. A `Track` is one face in one shot; a `Face` joins the tracks of a face over short absences, and
over cuts at which it stays in its place.

docs/benchmarks.md compares the detector with others.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from avdfd.config import FaceConfig
from avdfd.media.boxes import SAME_FACE, distance, overlap
from avdfd.media.face_mesh import (
    CHIN,
    LEFT_EYE_OUTER,
    LOWER_LIP,
    LOWER_LIP_INNER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_EYE_OUTER,
    UPPER_LIP,
    UPPER_LIP_INNER,
    Mesh,
    detect,
    find_mesh,
    mesh_of,
    region_around,
)
from avdfd.media.video import Frame

# Seconds after which the whole frame is searched for further faces.
_RESCAN = 3.0
# Seconds after which, while there is no face, small faces are searched for, too: that takes longer.
_FULL_RESCAN = 1.0
# Seconds without a face over which its places are interpolated, besides the time between two searches.
_GAP = 0.4
# Seconds after which a face that comes back to its place is another one.
_ABSENCE = 3.0
# Frames per second in which several faces are followed: enough for the lips to show who speaks.
_SPEECH_FPS = 12.5
# Times as many frames as usual are searched while a face moves.
_FASTER = 4
# Faces that are followed at once: the largest.
_MOST = 6
# A face that grows or shrinks by more than this between two searched frames was lost.
_GROWTH = 1.6
# Part of its size by which a face has moved between two searched frames that its mesh has to be corrected.
_MOVED = 0.1
# Side of the thumbnails in which cuts are found, and the least difference of two successive frames at a cut, relative
# to their contrast and to the median of the frames around them: motion is spread over several.
_THUMBNAIL, _CUT, _SUDDEN = 24, 0.4, 3.0
# Grey levels (0 to 255) added to the contrast, so that noise in darkness is no cut.
_NOISE = 5.0


class Sample(NamedTuple):
    """Face at one moment."""

    time: float
    box: np.ndarray
    mouth: np.ndarray
    """(4,) as `mouth_of` returns it."""


class Track:
    """One face in one shot."""

    def __init__(self, time: float, mesh: Mesh) -> None:
        self.samples: list[Sample] = []
        self.lost: float | None = None
        """Time of the first searched frame without the face since its last sample."""
        self.moves = False
        """True if the face has moved since the frame searched before, by more than a tenth of its size."""
        self.add(time, mesh)

    def add(self, time: float, mesh: Mesh) -> None:
        self.mesh = mesh
        self.lost = None
        self.samples.append(Sample(time, mesh.box, mouth_of(mesh)))

    @property
    def box(self) -> np.ndarray:
        return self.samples[-1].box

    def find(self, image: np.ndarray) -> Mesh:
        """Return the mesh at the place where the face was last, corrected once if the face has moved."""
        mesh = find_mesh(image, region_around(self.mesh))
        self.moves = distance(self.box, mesh.box) > _MOVED
        if self.moves:
            mesh = find_mesh(image, region_around(mesh))
        return mesh


class Shot:
    """Frames between two cuts and the faces in them."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.end = np.inf
        self.tracks: list[Track] = []
        self.searched: list[float] = []
        """Times of the frames that were searched."""


class Thumbnail(NamedTuple):
    """Small image and its contrast."""

    points: np.ndarray
    """(24, 24) float32"""
    variance: np.float32


class FaceTracker:
    """Detector and tracker of the faces in a stream of frames, run `detect_fps` times a second."""

    def __init__(self, config: FaceConfig) -> None:
        self.config = config
        self._least = min(max(config.min_score, 0.5), 0.95)
        self.shots: list[Shot] = []
        self._live: list[Track] = []
        self._recent: list[Frame] = []  # the last searched frame and those after it
        self._wait = 0.0  # seconds from it until the next search
        self._scanned = self._fully_scanned = -np.inf

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames unchanged and search some of them for faces."""
        for frame in frames:
            self._recent.append(frame)
            if len(self._recent) == 1 or frame.time - self._recent[0].time >= self._wait - 1e-3:
                self._search_recent()
                self._wait = self._interval()
            yield frame

    def finish(self) -> None:
        """Search the last frame that was watched: faces are then known up to there."""
        if len(self._recent) > 1:
            self._search_recent()
        self._recent.clear()

    def search(self, time: float, image: np.ndarray) -> None:
        """Find the faces in a frame (H, W, 3) RGB and add them to their tracks."""
        shot = self.shots[-1]
        shot.searched.append(time)
        known = self._followed
        self._follow(time, image, known)
        if not known or any(track.lost == time for track in known) or time - self._scanned >= _RESCAN:
            self._scan(time, image)
        self._live = [track for track in self._live if time - track.samples[-1].time < _ABSENCE]

    @property
    def _followed(self) -> list[Track]:
        return [track for track in self._live if track.lost is None]

    def _interval(self) -> float:
        """Return the seconds until the next search."""
        now = self._recent[0].time
        restless = any(track.moves if track.lost is None else now - track.lost <= _GAP for track in self._live)
        rate = self.config.detect_fps * (_FASTER if restless else 1)
        return 1 / (max(_SPEECH_FPS, rate) if len(self._followed) > 1 else rate)

    def _search_recent(self) -> None:
        """Search the last of the recent frames and, if there is a cut between them, those on both sides of it."""
        recent, self._recent = self._recent, self._recent[-1:]
        image = recent[-1].framed()
        last = thumbnail(image)
        if len(recent) == 1:
            self._begin_shot(recent[0].time)
        else:
            cut = self._cut(recent, last)
            if cut:
                if cut > 1:
                    before = recent[cut - 1].framed()
                    self.shots[-1].searched.append(recent[cut - 1].time)
                    self._follow(recent[cut - 1].time, before, self._followed)
                self._begin_shot(recent[cut].time)
                if cut < len(recent) - 1:
                    self.search(recent[cut].time, recent[cut].framed())
        self._last = last
        self.search(recent[-1].time, image)

    def _cut(self, recent: list[Frame], last: Thumbnail) -> int:
        """Return the position of the first frame after a cut, or 0; `last` is the thumbnail of the last frame."""
        if difference(self._last, last) < _CUT / 2:
            return 0
        thumbnails = [self._last, *(thumbnail(frame.framed()) for frame in recent[1:-1]), last]
        steps = np.array([difference(a, b) for a, b in itertools.pairwise(thumbnails)])
        position = int(steps.argmax())
        others = np.delete(steps, position)
        usual = float(np.median(others)) if len(others) else 0.0
        return position + 1 if steps[position] >= max(_CUT, _SUDDEN * usual) else 0

    def _begin_shot(self, time: float) -> None:
        if self.shots:
            self.shots[-1].end = time
        self.shots.append(Shot(time))
        self._live = []
        self._scanned = self._fully_scanned = -np.inf

    def _follow(self, time: float, image: np.ndarray, tracks: list[Track]) -> None:
        """Add to the tracks what the mesh finds where they are expected; note which are lost."""
        for track in sorted(tracks, key=lambda track: -track.box[2:].prod()):
            mesh = track.find(image)
            growth = mesh.box[2:].max() / track.box[2:].max()
            taken = any(
                other is not track and other.samples[-1].time == time and overlap(other.box, mesh.box) > SAME_FACE
                for other in tracks
            )
            if mesh.presence < self._least or not 1 / _GROWTH < growth < _GROWTH or taken:
                track.lost = time
            else:
                track.add(time, mesh)

    def _scan(self, time: float, image: np.ndarray) -> None:
        """Search the whole frame for faces that are not followed."""
        present = self._followed
        full = not present and time - self._fully_scanned >= _FULL_RESCAN
        self._scanned = time
        if full:
            self._fully_scanned = time
        meshes: list[Mesh] = []
        for far in (False, True):
            if far and (meshes or not full):
                break
            for found in detect(image, far=far, min_score=self._least):
                if any(overlap(track.box, found.box) > SAME_FACE for track in present):
                    continue
                mesh = mesh_of(image, found)
                boxes = [track.box for track in present] + [other.box for other in meshes]
                if mesh.presence >= self._least and not any(overlap(b, mesh.box) > SAME_FACE for b in boxes):
                    meshes.append(mesh)
        for mesh in sorted(meshes, key=lambda mesh: -mesh.box[2:].prod())[: _MOST - len(present)]:
            self._join(time, mesh)

    def _join(self, time: float, mesh: Mesh) -> None:
        """Add a face to the lost track that it continues, or begin a track."""
        lost = [track for track in self._live if track.lost is not None]
        near = min(lost, key=lambda track: distance(track.box, mesh.box), default=None)
        recent = near is not None and time - near.samples[-1].time <= longest_gap(self.config)
        if near is not None and (
            overlap(near.box, mesh.box) > SAME_FACE or (recent and distance(near.box, mesh.box) < 1)
        ):
            near.add(time, mesh)
            return
        self._live.append(Track(time, mesh))
        self.shots[-1].tracks.append(self._live[-1])


def longest_gap(config: FaceConfig) -> float:
    """Return the seconds between two samples of a face over which its places are interpolated."""
    return _GAP + 1 / config.detect_fps


def mouth_of(mesh: Mesh) -> np.ndarray:
    """Return the shape of a mouth (4,): distances of the inner lips, the outer lips, nose and chin, and the corners.

    They are relative to the distance of the outer corners of the eyes, in space: turning the head changes them little.
    """
    ends = mesh.points[[UPPER_LIP_INNER, UPPER_LIP, NOSE_TIP, MOUTH_RIGHT, RIGHT_EYE_OUTER]]
    others = mesh.points[[LOWER_LIP_INNER, LOWER_LIP, CHIN, MOUTH_LEFT, LEFT_EYE_OUTER]]
    lengths = np.linalg.norm(ends - others, axis=1)
    return lengths[:4] / max(float(lengths[4]), 1e-6)


def thumbnail(image: np.ndarray) -> Thumbnail:
    """Return the green of an image (H, W, 3) at 24x24 points, blurred a little."""
    rows, columns = _grid(image.shape[:2])
    small = cv2.resize(image[rows, columns, 1], (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    points = small.astype(np.float32)
    return Thumbnail(points, points.var())


@functools.lru_cache(1)
def _grid(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (48, 1) and columns (48,) of the points of a thumbnail in an image (H, W)."""
    rows, columns = (np.linspace(0, length - 1, 2 * _THUMBNAIL).astype(int) for length in shape)
    return rows[:, None], columns


def difference(a: Thumbnail, b: Thumbnail) -> float:
    """Return the mean absolute difference of two thumbnails, relative to their contrast: 0 to about 2."""
    contrast = float(np.sqrt((a.variance + b.variance) / 2))
    return float(np.abs(a.points - b.points).mean()) / (contrast + _NOISE)
