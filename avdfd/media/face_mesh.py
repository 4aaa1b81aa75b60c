"""Face detection with six points, and a mesh of 468 landmarks, by MediaPipe's networks.

image (H, W, 3) uint8 RGB -> `detect` -> detections -> `region_of` -> a rotated square -> `find_mesh` -> landmarks

`region_around` gives the square of the next frame from the landmarks of one, so that a face is followed without being
detected again. All positions are pixels of the image, x to the right and y down; pixel centres are at halves.

The weights (Apache 2.0) lie in the wheel of MediaPipe 0.10.21, which is installed without its dependencies and never
imported; LiteRT runs them.

References: Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", arXiv 1907.05047;
Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", arXiv 1907.06724.
"""

import contextlib
import functools
import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy

from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.media.boxes import SAME_FACE, middle, overlap

POINTS = 468
# Indices of landmarks. Right and left are those of the person.
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
UPPER_LIP_INNER, LOWER_LIP_INNER = 13, 14
UPPER_LIP, LOWER_LIP = 0, 17
MOUTH_RIGHT, MOUTH_LEFT = 61, 291
NOSE_TIP, CHIN = 1, 152

_WHEEL = "mediapipe==0.10.21"
_MESH = "face_landmark/face_landmark.tflite"
_SHA256 = {
    "face_detection/face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    "face_detection/face_detection_full_range_sparse.tflite": (
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1"
    ),
    _MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}
_MESH_SIDE = 192
# Side of the square that the mesh is looked for in, relative to the box of a detection or of the landmarks.
_WIDER = 1.5


class _Detector(NamedTuple):
    """A detection network: its file, input side, and the strides of its grids with the number of anchors per cell."""

    file: str
    side: int
    grids: tuple[tuple[int, int], ...]


_NEAR = _Detector("face_detection/face_detection_short_range.tflite", 128, ((8, 2), (16, 6)))
_FAR = _Detector("face_detection/face_detection_full_range_sparse.tflite", 192, ((4, 1),))


class Detection(NamedTuple):
    """Detected face."""

    box: np.ndarray
    """(4,) left, top, width, height: from the brows to the chin."""
    points: np.ndarray
    """(6, 2) right eye, left eye, tip of the nose, mouth, right ear, left ear."""
    score: float
    """Confidence, 0 to 1."""


class Region(NamedTuple):
    """Rotated square: centre, side in pixels, and angle in radians, clockwise as seen; 0 is upright."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True, eq=False)
class Mesh:
    """Landmarks of a face."""

    points: np.ndarray
    """(468, 3) float32: x, y, and depth in the same unit, smaller towards the camera."""
    presence: float
    """Probability that the region shows a face."""

    @functools.cached_property
    def box(self) -> np.ndarray:
        """(4,) left, top, width, height of the landmarks: from the upper forehead to the chin."""
        low, high = _extent(self.points[:, :2])
        return np.concatenate([low, high - low]).astype(float)


def detect(image: np.ndarray, *, far: bool = False, min_score: float = 0.5) -> list[Detection]:
    """Find the faces in an image (H, W, 3) uint8 RGB, the most certain first.

    The usual network finds faces of at least an eighth or so of the longer side and takes a third of the time of the
    `far` one, which finds faces half that size. Raises UserError if the weights are not installed.
    """
    network = _FAR if far else _NEAR
    side, scale = network.side, network.side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    top, left = (side - height) // 2, (side - width) // 2
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)

    def fill(given: np.ndarray) -> None:
        given[:] = -1
        given[0, top : top + height, left : left + width] = small / np.float32(127.5) - 1

    values, logits = _run(network.file, fill)
    scores = scipy.special.expit(logits[0, :, 0])
    kept = np.flatnonzero(scores >= min_score)
    pairs = values[0, kept].reshape(-1, 8, 2) / side  # centre and size of the box, then six points
    pairs[:, 0] += _anchors(network)[kept]
    pairs[:, 2:] += _anchors(network)[kept, None]
    pairs[:, 0] -= pairs[:, 1] / 2
    offset, step = np.array([left, top]), np.array(image.shape[1::-1]) / [width, height]
    pairs[:, 0] = (pairs[:, 0] * side - offset) * step
    pairs[:, 1] = pairs[:, 1] * side * step
    pairs[:, 2:] = (pairs[:, 2:] * side - offset) * step
    return _merged(pairs, scores[kept])


def region_of(detection: Detection) -> Region:
    """Return the square in which to look for the mesh of a detected face, turned so that its eyes are level."""
    x, y = middle(detection.box)
    across = detection.points[1] - detection.points[0]
    return Region(float(x), float(y), _WIDER * float(detection.box[2:].max()), math.atan2(across[1], across[0]))


def region_around(mesh: Mesh) -> Region:
    """Return the square in which to look for the same face in the next frame."""
    across = mesh.points[LEFT_EYE_OUTER, :2] - mesh.points[RIGHT_EYE_OUTER, :2]
    angle = math.atan2(across[1], across[0])
    turned = mesh.points[:, :2] @ _turn(angle)
    low, high = _extent(turned)
    centre = _turn(angle) @ ((low + high) / 2)
    return Region(float(centre[0]), float(centre[1]), _WIDER * float((high - low).max()), angle)


def find_mesh(image: np.ndarray, region: Region) -> Mesh:
    """Return the landmarks of the face in a region of an image (H, W, 3) uint8 RGB; `presence` says if there is one.

    Raises UserError if the weights are not installed.
    """
    scale = region.side / _MESH_SIDE
    part, shrink, corner = _reduced(image, region)
    # From pixels of the network's input to those of the image; cv2 counts from pixel centres.
    matrix = np.empty((2, 3))
    matrix[:, :2] = _turn(region.angle) * scale
    matrix[:, 2] = np.array([region.x, region.y]) - matrix[:, :2] @ np.full(2, _MESH_SIDE / 2)
    inner = matrix.copy()
    inner[:, 2] -= corner
    inner /= shrink
    inner[:, 2] += inner[:, :2] @ np.full(2, 0.5) - 0.5
    # With a fourth channel OpenCV takes half the time.
    part = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
    face = cv2.warpAffine(part, inner, (_MESH_SIDE, _MESH_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    face = cv2.cvtColor(face, cv2.COLOR_RGBA2RGB)  # NumPy divides without gaps four times as fast

    points, logit = _run(_MESH, lambda given: np.divide(face, np.float32(255), out=given[0]))
    points = points.reshape(POINTS, 3).astype(np.float64)
    placed = np.column_stack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2] * scale])
    return Mesh(placed.astype(np.float32), float(scipy.special.expit(logit.ravel()[0])))


def mesh_of(image: np.ndarray, detection: Detection) -> Mesh:
    """Return the landmarks of a detected face, found once more in the square around them: that is the better one."""
    return find_mesh(image, region_around(find_mesh(image, region_of(detection))))


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest coordinates (2,) of points (N, 2)."""
    columns = np.ascontiguousarray(points.T)  # along which numpy is six times as fast as across
    return columns.min(axis=1), columns.max(axis=1)


def _turn(angle: float) -> np.ndarray:
    """Return the matrix that turns columns (2,) clockwise as seen, as y points down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _reduced(image: np.ndarray, region: Region) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the part of an image around a region, halved until the region is less than twice the network's input.

    Returned with it are the factor and the corner (2,) of the part. Large faces would otherwise alias, and jitter.
    """
    factor = 2 ** max(0, math.floor(math.log2(max(region.side, 1) / _MESH_SIDE)))
    reach = region.side * (abs(math.cos(region.angle)) + abs(math.sin(region.angle))) / 2 + factor
    height, width = image.shape[:2]
    left, top = (int(min(max(c - reach, 0), n - 1)) for c, n in ((region.x, width), (region.y, height)))
    right = min(max(math.ceil(region.x + reach), left + 1), width)
    bottom = min(max(math.ceil(region.y + reach), top + 1), height)
    # The last rows and columns of a side that the factor does not divide are left out.
    width, height = max(1, (right - left) // factor), max(1, (bottom - top) // factor)
    part = image[top : top + height * factor, left : left + width * factor]
    if factor > 1:
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    return part, factor, np.array([left, top])


def _merged(pairs: np.ndarray, scores: np.ndarray) -> list[Detection]:
    """Return one detection for each face: the mean of the overlapping ones (N, 8, 2), weighted by their scores (N,)."""
    found = []
    rest = np.argsort(-scores)
    boxes = pairs[:, :2].reshape(-1, 4)
    while len(rest):
        best = rest[0]
        same = overlap(boxes[rest], boxes[best]) > SAME_FACE
        same[0] = True
        mean = np.average(pairs[rest[same]], axis=0, weights=scores[rest[same]])
        found.append(Detection(mean[:2].ravel(), mean[2:], float(scores[best])))
        rest = rest[~same]
    return found


@functools.cache
def _anchors(network: _Detector) -> np.ndarray:
    """Return the centres (N, 2) of a network's anchors, relative to its input: those of each cell follow each other."""
    parts = []
    for stride, count in network.grids:
        cells = (np.arange(network.side // stride) + 0.5) * stride / network.side
        across, down = np.meshgrid(cells, cells)
        parts.append(np.repeat(np.stack([across.ravel(), down.ravel()], axis=1), count, axis=0))
    return np.concatenate(parts)


def _run(file: str, fill: Callable[[np.ndarray], Any]) -> list[np.ndarray]:
    """Return copies of the outputs of a network for its input (1, H, W, 3) float32, which `fill` writes in place."""
    network, given, made = _network(file)
    fill(network.tensor(given)())  # nothing may refer to it while the network runs
    network.invoke()
    return [network.get_tensor(index) for index in made]


@functools.cache
def _network(file: str) -> tuple[Any, int, list[int]]:
    """Return an interpreter and the indices of its input and outputs."""
    from ai_edge_litert.interpreter import Interpreter  # slow to import, and not needed for audio

    spec = importlib.util.find_spec("mediapipe")
    place = (
        Path(spec.submodule_search_locations[0], "modules", file) if spec and spec.submodule_search_locations else None
    )
    if place is None or not place.is_file():
        raise UserError("the weights of the face mesh are not installed; run bash setup.sh")
    if sha256_of(place) != _SHA256[file]:
        raise UserError(f"{place}: not the weights of {_WHEEL}; run: pip install --no-deps {_WHEEL}")
    with _quiet():
        network = Interpreter(model_path=str(place), num_threads=1)  # there is one worker per core already
        network.allocate_tensors()
    (given,) = network.get_input_details()
    return network, given["index"], [output["index"] for output in network.get_output_details()]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the library writes to the standard error stream when it is set up."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
