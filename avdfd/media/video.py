"""Video frames of a media file, with the times of its container.

Times are seconds as the container states them, so that audio and video keep their offset. A frame is decoded once and
converted to RGB or grey only on request.
"""

import itertools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Hashable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from avdfd.core.errors import MediaError
from avdfd.core.heap import trim_heap
from avdfd.features.window import FACE_SIZE
from avdfd.media.ceilings import PIXELS, check_frame
from avdfd.media.container import check_damage, has_display_times, open_media
from avdfd.media.packets import packets_of
from avdfd.media.streams import Reading, candidates

# Frames after which free memory is given back, without a cost that can be measured.
_TRIM = 250


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


class Frame(ABC):
    """Video frame, shown from `time` for about `duration` seconds."""

    def __init__(self, time: float, duration: float) -> None:
        self.time = time
        self.duration = duration
        self.encoded: dict[Hashable, bytes] = {}
        """Encoded crops by their square: a frame in several windows is encoded once."""
        self.fit: Fit | None = None
        """Place of this frame within one of the size of the file's first; None if it has that size itself."""

    @abstractmethod
    def rgb(self) -> np.ndarray:
        """Return (H, W, 3) uint8, upright and with square pixels, in the frame's own size."""

    @abstractmethod
    def bgr(self) -> np.ndarray:
        """Return `rgb` with blue first, as JPEGs are encoded from it."""

    @abstractmethod
    def gray(self) -> np.ndarray:
        """Return (H, W) uint8, upright and with square pixels, in the size of the file's first frame."""

    def framed(self) -> np.ndarray:
        """Return `rgb` in the size of the file's first frame."""
        return self.rgb() if self.fit is None else self.fit.framed(self.rgb())


def read_video(path: str | Path, decoder: str, reading: Reading | None = None) -> Generator[Frame]:
    """Yield the frames of a file in display order, decoded by "pyav" or "decord".

    Of several video streams that of `reading` is taken, or the first one that can be decoded; `reading` then has its
    index and the damage. Decord gives no display times of AVI, takes a stream of its own choice and turns no frame, so
    PyAV decodes such a file. Raises MediaError if the file cannot be decoded, possibly only after the last frame.
    """
    reading = reading or Reading()
    indices: list[int] = []
    failures: list[MediaError] = []
    for number in itertools.count():
        frames = _pyav_frames(path, indices, number, reading)
        try:
            first = next(frames)
        except MediaError as error:
            failures.append(error)
        if number + 1 >= len(indices) or len(failures) <= number:
            break
    if len(failures) > number:
        raise failures[0]
    reading.video_stream = indices[number]
    reading.choices += len(indices) - 1
    if decoder == "decord" and first.is_plain:
        frames.close()
        yield from _decord_frames(path, first.time)
        return
    yield first
    yield from frames


class _FrameConverter:
    """Converter of decoded frames to arrays, one per stream: its setup takes as long as two conversions."""

    def __init__(self, stream: Any) -> None:
        self.seconds = float(stream.time_base)
        aspect = float(stream.sample_aspect_ratio or 1)
        # A face crop of the final size is never resampled, even if its stated pixel aspect is not 1.
        square = abs(aspect - 1) < 0.02 or (stream.width, stream.height) == (FACE_SIZE, FACE_SIZE)
        self._aspect = 1 if square else aspect
        self._converters = {form: VideoReformatter() for form in ("rgb24", "bgr24", "gray")}

        self._first: tuple[int, int] | None = None

    def array(self, frame: av.VideoFrame, form: str, matrix: np.ndarray | None) -> np.ndarray:
        """Return the upright image of a frame in its own size."""
        # One thread, as callers run one worker per core: by default each conversion would wake one for every core.
        converter = self._converters[form]
        image = converter.reformat(frame, width=self._width(frame), format=form, threads=1).to_ndarray()
        return image if matrix is None else upright(image, matrix)

    def fit(self, frame: av.VideoFrame, matrix: np.ndarray | None) -> Fit | None:
        """Return the place of a frame in the first one that was asked for. Raises MediaError for too large a frame."""
        check_frame(frame.width, frame.height, self._aspect)
        shape = (frame.height, self._width(frame))
        if matrix is not None and is_transposed(matrix):
            shape = shape[::-1]
        self._first = self._first or shape
        return fit_of(shape, self._first)

    def _width(self, frame: av.VideoFrame) -> int:
        return round(frame.width * self._aspect)


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """Return the matrix (2, 2) by which a frame is to be shown: rows a, b and c, d of x' = ax + cy, y' = bx + dy.

    None if it is shown as it is.
    """
    # `frame.side_data` would refer back to the frame, whose memory then waits for Python's collector of cycles.
    found = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # its stub lacks the argument
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


class _PyavFrame(Frame):
    def __init__(self, frame: av.VideoFrame, time: int, converter: _FrameConverter, plain: bool) -> None:
        super().__init__(time * converter.seconds, (frame.duration or 0) * converter.seconds)
        self._frame, self._converter, self._plain = frame, converter, plain
        self._matrix = display_matrix(frame)
        self.fit = converter.fit(frame, self._matrix)

    @property
    def is_plain(self) -> bool:
        """True if decord gives the same frame at the same time."""
        return self._plain and self._matrix is None

    def rgb(self) -> np.ndarray:
        return self._converter.array(self._frame, "rgb24", self._matrix)

    def bgr(self) -> np.ndarray:
        return self._converter.array(self._frame, "bgr24", self._matrix)

    def gray(self) -> np.ndarray:
        image = self._converter.array(self._frame, "gray", self._matrix)
        return image if self.fit is None else self.fit.framed(image)


class ArrayFrame(Frame):
    """Frame that is already an array (H, W, 3) uint8."""

    def __init__(self, image: np.ndarray, time: float, duration: float) -> None:
        super().__init__(time, duration)
        self._image = image

    def rgb(self) -> np.ndarray:
        return self._image

    def bgr(self) -> np.ndarray:
        return cv2.cvtColor(self._image, cv2.COLOR_RGB2BGR)

    def gray(self) -> np.ndarray:
        return (self._image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)


def _pyav_frames(path: str | Path, indices: list[int], number: int, reading: Reading) -> Generator[_PyavFrame]:
    """Yield the frames of one of the streams that may be taken, in display order; `indices` is filled in with them.

    Raises MediaError without a frame, or if too many are damaged.
    """
    count = damaged = 0
    with open_media(path) as container:
        indices[:] = indices or [stream.index for stream in candidates(container, "video", reading.video_stream)]
        stream = container.streams[indices[number]]
        plain = has_display_times(container, stream) and len(container.streams.video) == 1
        check_frame(stream.codec_context.width, stream.codec_context.height)
        stream.thread_count = 1  # callers already run one worker per core
        converter = _FrameConverter(stream)
        last: int | None = None
        for frame, time in _timed_frames(container, stream):
            count += 1
            if count % _TRIM == 0:
                trim_heap()
            if last is None and (frame is None or frame.is_corrupt):  # it refers to frames before the file
                reading.dropped_frames += 1
                continue
            if frame is None or frame.is_corrupt:
                damaged += 1
                reading.damaged_frames += 1
            if frame is None:
                continue
            if last is not None and time <= last:  # some AVI files state a time twice
                reading.dropped_frames += 1
                continue
            yield _PyavFrame(frame, time, converter, plain)
            last = time
    if last is None:
        size = "" if stream.codec_context.width else f", or frames have more than {PIXELS:,} pixels"
        raise MediaError(f"no frame could be decoded{size}")
    check_damage("video", damaged, count)


def _timed_frames(container: Any, stream: Any) -> Iterator[tuple[av.VideoFrame | None, int]]:
    """Yield the frames of a stream in display order with their times in ticks of its time base.

    A frame without a time follows the one before it. A packet that cannot be decoded gives None, and so do frames
    before the first time that is stated. If frames are decoded in another order than they are shown but every packet is
    to be shown when it is decoded, as faulty programs write it, the times are as good as those of AVI.
    """
    reorders = bool(stream.codec_context.has_b_frames)
    untimed = not has_display_times(container, stream)
    stated = not untimed and not reorders
    slots: deque[int] = deque()  # times of the packets whose frames are not shown yet
    following: int | None = None
    delay = 0
    whole, size = True, None
    for packet in packets_of(container, [stream]):
        stated |= reorders and not untimed and packet.size > 0 and packet.pts != packet.dts
        if packet.size and packet.dts is not None and not packet.is_discard and not stated:
            slots.append(packet.dts)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            whole = False
            if slots:
                slots.pop()
            yield None, following or 0
            continue
        for frame in frames:
            size = size or (frame.width, frame.height)
            whole &= size == (frame.width, frame.height)  # a decoder may lose frames when the size changes
            if whole:
                delay = max(delay, len(slots))
            while len(slots) > delay:  # frames that the decoder lost
                slots.popleft()
                yield None, following or 0
            slot = slots.popleft() if slots and not stated else None
            time = slot if slot is not None else frame.dts if frame.pts is None else frame.pts
            following = following if time is None else time
            if following is None:
                yield None, 0
                continue
            yield frame, following
            following += frame.duration or 1


def _decord_frames(path: str | Path, begin: float) -> Iterator[Frame]:
    import decord  # not the default, and without a wheel for some platforms

    try:
        # PyAV has read the file, so it is one of the containers that may be opened; an absolute path is no URL.
        reader = decord.VideoReader(os.path.abspath(path), ctx=decord.cpu(0), num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))
        # decord's time stamps have an origin of their own, neither the container's nor that of the audio.
        offset = begin - float(stamps[0, 0])
        for start, end in stamps:
            yield ArrayFrame(reader.next().asnumpy(), float(start) + offset, float(end - start))
    except decord.DECORDError as error:
        raise MediaError(f"cannot be decoded by decord: {str(error).splitlines()[0]}") from None
