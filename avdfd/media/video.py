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
from typing import Any

import av
import cv2
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.core.heap import trim_heap
from avdfd.media.ceilings import PIXELS, check_frame
from avdfd.media.container import check_damage, has_display_times, open_media
from avdfd.media.conversion import Fit, FrameConverter, display_matrix
from avdfd.media.packets import packets_of
from avdfd.media.streams import Reading, candidates

# Frames after which free memory is given back, without a cost that can be measured.
_TRIM = 250


class Frame(ABC):
    """Video frame, shown from `time` for about `duration` seconds."""

    def __init__(self, time: float, duration: float) -> None:
        self.time = time
        self.duration = duration
        self.encoded: dict[Hashable, bytes] = {}
        """Encoded crops by their square: a frame in several windows is encoded once."""
        self.shape: tuple[int, ...]
        """Height and width, upright and with square pixels."""
        self.fit: Fit | None = None
        """Place of this frame within one of the size of the file's first; None if it has that size itself."""

    @abstractmethod
    def rgb(self) -> np.ndarray:
        """Return (H, W, 3) uint8, upright and with square pixels, in the frame's own size."""

    @abstractmethod
    def bgr(self) -> np.ndarray:
        """Return `rgb` with blue first, as JPEGs are encoded from it."""

    def bgr_square(self, left: int, top: int, side: int) -> np.ndarray:
        """Return a square (side, side, 3) of `bgr`."""
        return self.bgr()[top : top + side, left : left + side]

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


class _PyavFrame(Frame):
    def __init__(self, frame: av.VideoFrame, time: int, converter: FrameConverter, plain: bool) -> None:
        super().__init__(time * converter.seconds, (frame.duration or 0) * converter.seconds)
        self._frame, self._converter, self._plain = frame, converter, plain
        self._matrix = display_matrix(frame)
        self.shape = converter.shape(frame, self._matrix)
        self.fit = converter.fit(self.shape)

    @property
    def is_plain(self) -> bool:
        """True if decord gives the same frame at the same time."""
        return self._plain and self._matrix is None

    def rgb(self) -> np.ndarray:
        return self._converter.array(self._frame, "rgb24", self._matrix)

    def bgr(self) -> np.ndarray:
        return self._converter.array(self._frame, "bgr24", self._matrix)

    def bgr_square(self, left: int, top: int, side: int) -> np.ndarray:
        return self._converter.square(self._frame, self._matrix, left, top, side)

    def gray(self) -> np.ndarray:
        image = self._converter.array(self._frame, "gray", self._matrix)
        return image if self.fit is None else self.fit.framed(image)


class ArrayFrame(Frame):
    """Frame that is already an array (H, W, 3) uint8."""

    def __init__(self, image: np.ndarray, time: float, duration: float) -> None:
        super().__init__(time, duration)
        self._image, self.shape = image, image.shape[:2]

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
        converter = FrameConverter(stream)
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
