"""Conversion of decoded frames to upright arrays with square pixels: of whole frames, or of a square of one.

A square is converted from a part of the planes, which takes less time and gives the very pixels of the whole frame:
the part begins at even rows and columns, so that every pixel keeps its chroma, which is halved in both directions
(4:2:0) as in nearly all files.
"""

from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from avdfd.features.window import FACE_SIZE
from avdfd.media.ceilings import check_frame

_HALVED = ("yuv420p", "yuvj420p")
"""Pixel formats of which a part can be converted."""
_STEP = 16
"""Sides of a part are multiples of it: swscale treats a rest of columns in another way, and few sizes occur."""
_LARGEST = 0.75
"""A part of more than this fraction of a frame takes as long as all of it."""


class Fit(NamedTuple):
    """Place of a frame of another size in one of the size (`height`, `width`) of the file's first frame.

    It is scaled by `scale` and begins at `left` and `top`, with black at two of its sides if the proportions differ.
    """

    height: int
    width: int
    scale: float
    left: float
    top: float

    def framed(self, image: np.ndarray) -> np.ndarray:
        """Return an image (H, W) or (H, W, 3) in the size of the first frame."""
        place = np.array([[self.scale, 0, self.left], [0, self.scale, self.top]])
        way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        return cv2.warpAffine(np.ascontiguousarray(image), place, (self.width, self.height), flags=way)


def fit_of(shape: tuple[int, ...], first: tuple[int, ...]) -> Fit | None:
    """Return the place of a frame of a shape (H, W) in the first one, None for the same shape."""
    if shape == first:
        return None
    scale = min(first[0] / shape[0], first[1] / shape[1])
    return Fit(first[0], first[1], scale, (first[1] - shape[1] * scale) / 2, (first[0] - shape[0] * scale) / 2)


class _Part(NamedTuple):
    """Frame that takes parts of others."""

    form: tuple[int, int, str]
    """Width, height and pixel format."""
    frame: av.VideoFrame
    planes: list[np.ndarray]
    """Its three planes (h, w), which share its memory."""

    @classmethod
    def empty(cls, width: int, height: int, form: str) -> "_Part":
        frame = av.VideoFrame(width, height, form)
        planes = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in _planes(frame)
        ]
        return cls((width, height, form), frame, planes)


class FrameConverter:
    """Converter of decoded frames to arrays, one per stream: its setup takes as long as two conversions."""

    def __init__(self, stream: Any) -> None:
        self.seconds = float(stream.time_base)
        aspect = float(stream.sample_aspect_ratio or 1)
        # A face crop of the final size is never resampled, even if its stated pixel aspect is not 1.
        square = abs(aspect - 1) < 0.02 or (stream.width, stream.height) == (FACE_SIZE, FACE_SIZE)
        self._aspect = 1 if square else aspect
        self._converters = {form: VideoReformatter() for form in ("rgb24", "bgr24", "gray")}
        self._of_parts = VideoReformatter()
        self._part: _Part | None = None
        self._checked: tuple[int, int] | None = None
        self._first: tuple[int, int] | None = None

    def array(self, frame: av.VideoFrame, form: str, matrix: np.ndarray | None) -> np.ndarray:
        """Return the upright image of a frame in its own size."""
        # One thread, as callers run one worker per core: by default each conversion would wake one for every core.
        converter = self._converters[form]
        image = converter.reformat(frame, width=self._width(frame), format=form, threads=1).to_ndarray()
        return image if matrix is None else upright(image, matrix)

    def square(self, frame: av.VideoFrame, matrix: np.ndarray | None, left: int, top: int, side: int) -> np.ndarray:
        """Return a square (side, side, 3) of the upright image of a frame, with blue first."""
        x, y = left - left % 2, top - top % 2
        width, height = (-(-length // _STEP) * _STEP for length in (left - x + side, top - y + side))
        height = min(height, frame.height)
        small = width <= frame.width and width * height <= _LARGEST * frame.width * frame.height
        if not small or not self._is_divisible(frame, matrix):
            return self.array(frame, "bgr24", matrix)[top : top + side, left : left + side]
        # A part that would reach beyond the frame begins earlier.
        x, y = min(x, frame.width - width), min(y, frame.height - height)
        image = self._of_parts.reformat(self._part_of(frame, x, y, width, height), format="bgr24", threads=1)
        return image.to_ndarray()[top - y : top - y + side, left - x : left - x + side]

    def _is_divisible(self, frame: av.VideoFrame, matrix: np.ndarray | None) -> bool:
        """Return whether a part of a frame gets the pixels of the whole: it is upright, of even sides, without fields
        and stored from its top."""
        even = frame.width % 2 == 0 and frame.height % 2 == 0
        plain = matrix is None and self._aspect == 1 and even and not frame.interlaced_frame
        return plain and frame.format.name in _HALVED and frame.planes[0].line_size > 0

    def _part_of(self, frame: av.VideoFrame, x: int, y: int, width: int, height: int) -> av.VideoFrame:
        """Return a part of a frame, in a frame that the next part is written to, too."""
        form = (width, height, frame.format.name)
        if self._part is None or self._part.form != form:
            self._part = _Part.empty(*form)
        for place, plane, share in zip(self._part.planes, _planes(frame), (1, 2, 2), strict=True):
            rows = slice(y // share, (y + height) // share)
            columns = slice(x // share, (x + width) // share)
            place[:] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[rows, columns]
        part = self._part.frame
        part.colorspace, part.color_range = frame.colorspace, frame.color_range
        return part

    def shape(self, frame: av.VideoFrame, matrix: np.ndarray | None) -> tuple[int, int]:
        """Return height and width of the upright image of a frame. Raises MediaError for too large a frame."""
        stored = frame.width, frame.height
        if stored != self._checked:
            check_frame(*stored, self._aspect)
            self._checked = stored
        shape = (frame.height, self._width(frame))
        return shape[::-1] if matrix is not None and is_transposed(matrix) else shape

    def fit(self, shape: tuple[int, int]) -> Fit | None:
        """Return the place of a frame of a shape in the first one that was asked for."""
        self._first = self._first or shape
        return fit_of(shape, self._first)

    def _width(self, frame: av.VideoFrame) -> int:
        return round(frame.width * self._aspect)


def _planes(frame: av.VideoFrame) -> tuple[Any, ...]:
    """Return the planes of a frame, which are buffers, though the library's stubs do not say so."""
    return frame.planes


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """Return the matrix (2, 2) by which a frame is to be shown: rows a, b and c, d of x' = ax + cy, y' = bx + dy.

    None if it is shown as it is.
    """
    # `frame.side_data` would refer back to the frame, whose memory then waits for Python's collector of cycles.
    data = SideDataContainer(frame)  # type: ignore[call-arg]  # its stub lacks the argument
    found = data.get("DISPLAYMATRIX") if len(data) else None
    if found is None:
        return None
    matrix = np.frombuffer(bytes(cast("Any", found)), np.int32).reshape(3, 3)[:2, :2]
    return None if matrix[0, 0] >= abs(matrix[0, 1]) and matrix[1, 1] >= abs(matrix[1, 0]) else matrix


def is_transposed(matrix: np.ndarray) -> bool:
    """Return whether a display matrix exchanges rows and columns. Other angles count as the nearest of the eight."""
    across, along = np.abs(matrix.astype(float)), np.eye(2, dtype=bool)
    return bool(across[~along].sum() > across[along].sum())


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and mirror an image (H, W, ...) as its display matrix says."""
    transposed = is_transposed(matrix)
    image = image.swapaxes(0, 1) if transposed else image
    across, down = (matrix[1, 0], matrix[0, 1]) if transposed else (matrix[0, 0], matrix[1, 1])
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
