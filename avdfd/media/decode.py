"""Audio and video frames of a media file, with the times of its container.

Times are seconds as the container states them, so that audio and video keep their offset. A frame is decoded once and
converted to RGB or grey only on request.
"""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
import soxr
from av.video.reformatter import VideoReformatter

from avdfd.core.errors import MediaError
from avdfd.features.window import FACE_SIZE, SAMPLE_RATE
from avdfd.media.downmix import DownMix, full_scale
from avdfd.media.streams import Reading, candidates, first_stream, has_stream
from avdfd.media.truncation import Extent

# A larger jump of the time stamps (seconds) splits audio into pieces; a smaller one is rounding (MKV counts in ms).
_AUDIO_JUMP = 0.05
# Pieces that follow each other within these seconds are one: their rate changes, as when SBR begins in HE-AAC.
_SEAM = 0.005
# Audio packets that cannot be decoded are concealed up to this many seconds in a row.
_CONCEALED = 0.1
# A file of which a larger fraction of a stream's frames cannot be decoded is refused.
MOST_DAMAGED = 0.05
# Root mean square below which audio is silent: -70 dBFS.
SILENCE = 10 ** (-70 / 20)
# Offset and magic bytes of containers: they distinguish a damaged video from a file that is no video.
_CONTAINERS = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"RIFF"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"\0\0\1\xba"),
    (0, b"FLV"),
)


@dataclass(frozen=True)
class AudioPiece:
    """Continuous piece of audio: mono float32 at 16 kHz whose first sample is at `start` seconds."""

    start: float
    samples: np.ndarray

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


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
    def gray(self) -> np.ndarray:
        """Return (H, W) uint8, upright and with square pixels, in the size of the file's first frame."""

    def framed(self) -> np.ndarray:
        """Return `rgb` in the size of the file's first frame."""
        return self.rgb() if self.fit is None else self.fit.framed(self.rgb())


def read_audio(path: str | Path, *, video: bool = True, reading: Reading | None = None) -> list[AudioPiece]:
    """Decode the audio of a file to continuous pieces of one channel (avdfd.media.downmix).

    Of several audio streams that of `reading` is taken, or the first one that is neither silent nor undecodable;
    `reading` then has its index and the damage. Raises MediaError if the file cannot be decoded, is truncated or, with
    `video`, has no video.
    """
    reading = reading or Reading()
    indices: list[int] = []
    tracks: list[_Track] = []
    failures: list[MediaError] = []
    for number in itertools.count():
        try:
            tracks.append(_read_track(path, indices, number, reading, DownMix(), video=video))
        except MediaError as error:
            failures.append(error)
        if number + 1 >= len(indices) or (tracks and not tracks[-1].silent):
            break
    if not tracks:
        raise failures[0]
    track = tracks[0] if tracks[-1].silent else tracks[-1]
    reading.audio_stream = track.stream
    reading.choices += len(indices) - 1
    reading.damaged_frames += track.damaged
    reading.notes += track.notes
    return track.pieces


def join_pieces(pieces: Sequence[AudioPiece], end: float) -> np.ndarray:
    """Join the audio pieces of a file to (S,), from the start of the first piece to `end` seconds; gaps are zeros."""
    begin = pieces[0].start
    samples = np.zeros(max(round((end - begin) * SAMPLE_RATE), 0), np.float32)
    for piece in pieces:
        first = max(round((piece.start - begin) * SAMPLE_RATE), 0)
        place = samples[first : first + len(piece.samples)]
        place += piece.samples[: len(place)]
    return samples


def read_waveform(path: str | Path) -> np.ndarray:
    """Return the audio (S,) float32 of a file with or without video, mono at 16 kHz; gaps are left out.

    Raises MediaError as `read_audio`.
    """
    return np.concatenate([piece.samples for piece in read_audio(path, video=False)])


def read_video(path: str | Path, decoder: str, reading: Reading | None = None) -> Iterator[Frame]:
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


@contextmanager
def open_media(path: str | Path) -> Iterator[Any]:
    """Open a container and close it in the end.

    Raises MediaError if the file is missing or not readable, and for FFmpeg's errors on opening and reading.
    """
    opened = False
    try:
        with av.open(f"file:{path}") as container:  # without "file:", a name with a colon is taken for a URL
            opened = True
            yield container
    except FileNotFoundError:
        raise MediaError("no such file") from None
    except IsADirectoryError:
        raise MediaError("a folder, not a file") from None
    except PermissionError:
        raise MediaError("permission denied") from None
    except av.FFmpegError as error:
        if Path(path).stat().st_size == 0:
            raise MediaError("empty file") from None
        if not opened and not _is_container(path):
            raise MediaError("not a media file") from None
        raise MediaError(f"cannot be decoded, damaged or truncated ({error.strerror})") from None


def has_video(path: str | Path) -> bool:
    """Return whether a file has a video stream, images beside the audio excluded. Raises MediaError."""
    with open_media(path) as container:
        return has_stream(container, "video")


def has_display_times(container: Any, stream: Any) -> bool:
    """Return whether the container states when frames are shown; AVI states only when packets are decoded.

    FFmpeg fills in display times for AVI, which are late and, with B-frames, in disorder. There the n-th frame shown
    has the time of the n-th packet. A codec tag in Matroska marks a stream that was copied from AVI in the same form.
    """
    copied = container.format.name.startswith("matroska") and stream.codec_tag.strip("\0")
    return container.format.name != "avi" and not copied


class _FrameConverter:
    """Converter of decoded frames to arrays, one per stream: its setup takes as long as two conversions."""

    def __init__(self, stream: Any) -> None:
        self.seconds = float(stream.time_base)
        aspect = float(stream.sample_aspect_ratio or 1)
        # A face crop of the final size is never resampled, even if its stated pixel aspect is not 1.
        square = abs(aspect - 1) < 0.02 or (stream.width, stream.height) == (FACE_SIZE, FACE_SIZE)
        self._aspect = 1 if square else aspect
        self._converters = {"rgb24": VideoReformatter(), "gray": VideoReformatter()}

        self._first: tuple[int, int] | None = None

    def array(self, frame: av.VideoFrame, form: str, matrix: np.ndarray | None) -> np.ndarray:
        """Return the upright image of a frame in its own size."""
        image = self._converters[form].reformat(frame, width=self._width(frame), format=form).to_ndarray()
        return image if matrix is None else upright(image, matrix)

    def fit(self, frame: av.VideoFrame, matrix: np.ndarray | None) -> Fit | None:
        """Return the place of a frame in the first one that was asked for."""
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
    found = frame.side_data.get("DISPLAYMATRIX")
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
        stream.thread_count = 1  # callers already run one worker per core
        converter = _FrameConverter(stream)
        last: int | None = None
        for frame, time in _timed_frames(container, stream):
            count += 1
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
        raise MediaError("no frame could be decoded")
    _check_damage("video", damaged, count)


def _timed_frames(container: Any, stream: Any) -> Iterator[tuple[av.VideoFrame | None, int]]:
    """Yield the frames of a stream in display order with their times in ticks of its time base.

    A frame without a time follows the one before it. A packet that cannot be decoded gives None. If frames are decoded
    in another order than they are shown but every packet is to be shown when it is decoded, as faulty programs write
    it, the times are as good as those of AVI.
    """
    reorders = bool(stream.codec_context.has_b_frames)
    untimed = not has_display_times(container, stream)
    stated = not untimed and not reorders
    slots: deque[int] = deque()  # times of the packets whose frames are not shown yet
    following = delay = 0
    whole, size = True, None
    for packet in container.demux(stream):
        stated |= reorders and not untimed and packet.size > 0 and packet.pts != packet.dts
        if packet.size and packet.dts is not None and not packet.is_discard and not stated:
            slots.append(packet.dts)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            whole = False
            if slots:
                slots.pop()
            yield None, following
            continue
        for frame in frames:
            size = size or (frame.width, frame.height)
            whole &= size == (frame.width, frame.height)  # a decoder may lose frames when the size changes
            if whole:
                delay = max(delay, len(slots))
            while len(slots) > delay:  # frames that the decoder lost
                slots.popleft()
                yield None, following
            slot = slots.popleft() if slots and not stated else None
            time = slot if slot is not None else frame.dts if frame.pts is None else frame.pts
            following = following if time is None else time
            yield frame, following
            following += frame.duration or 1


def _check_damage(kind: str, damaged: int, count: int) -> None:
    if damaged > max(MOST_DAMAGED * count, 1):
        raise MediaError(f"damaged: {damaged} of {count} {kind} frames cannot be decoded")


def _decord_frames(path: str | Path, begin: float) -> Iterator[Frame]:
    import decord  # not the default, and without a wheel for some platforms

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))
        # decord's time stamps have an origin of their own, neither the container's nor that of the audio.
        offset = begin - float(stamps[0, 0])
        for start, end in stamps:
            yield ArrayFrame(reader.next().asnumpy(), float(start) + offset, float(end - start))
    except decord.DECORDError as error:
        raise MediaError(f"cannot be decoded by decord: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class _Track:
    """Decoded audio stream of a file."""

    stream: int
    pieces: list[AudioPiece]
    damaged: int
    notes: list[str]

    @property
    def silent(self) -> bool:
        return all(is_silent(piece.samples) for piece in self.pieces)


def is_silent(samples: np.ndarray) -> bool:
    """Return whether audio is below -70 dBFS."""
    return bool(np.sqrt(np.mean(np.square(samples))) < SILENCE)


def _read_track(
    path: str | Path, indices: list[int], number: int, reading: Reading, mix: DownMix, *, video: bool
) -> _Track:
    """Decode one of the audio streams that may be taken; `indices` is filled in with them.

    With `video`, the packets of the video stream are read on the way, to see whether it is whole. The
    audio is decoded once more if its channels turn out to cancel each other.
    """
    damaged = count = 0
    found = Reading()
    with open_media(path) as container:
        shown = [first_stream(container, "video", reading.video_stream)] if video else []
        indices[:] = indices or [stream.index for stream in candidates(container, "audio", reading.audio_stream)]
        index = indices[number]
        streams = [container.streams[index], *shown]
        extents = {stream.index: Extent(path, container, stream) for stream in streams}
        codec = streams[0].codec_context.name
        joiner = _Joiner(float(streams[0].time_base), mix)
        for packet in container.demux(streams):
            extents[packet.stream.index].add(packet)
            if packet.stream.index != index:
                continue
            count += bool(packet.size)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += joiner.begun
                joiner.lost = True
                continue
            for frame in frames:
                damaged += bool(frame.is_corrupt)
                joiner.add(frame)
            joiner.lost |= packet.is_corrupt
        pieces = joiner.close()
        if not pieces:
            raise MediaError("no audio could be decoded")
        for extent in extents.values():
            extent.check()
    _check_damage("audio", damaged, count)
    better = mix.better(found)
    if better:
        track = _read_track(path, indices, number, reading, better, video=video)
        return replace(track, notes=found.notes + track.notes)
    scale = full_scale(max(float(np.abs(piece.samples).max()) for piece in pieces), codec, found)
    if scale != 1:
        pieces = [AudioPiece(piece.start, piece.samples * np.float32(scale)) for piece in pieces]
    return _Track(index, pieces, damaged, found.notes)


class _Joiner:
    """Joins audio frames to pieces; a jump of the time stamps or a change of rate or channels starts a new piece."""

    def __init__(self, seconds: float, mix: DownMix) -> None:
        self.seconds, self.mix = seconds, mix
        self.pieces: list[AudioPiece] = []
        self.lost = False
        """The packet before the next frame could not be decoded: the gap in the audio is concealed."""
        self._piece: _Piece | None = None

    @property
    def begun(self) -> bool:
        return self._piece is not None

    def add(self, frame: av.AudioFrame) -> None:
        form = (frame.rate, frame.layout.nb_channels)
        time = None if frame.pts is None else frame.pts * self.seconds
        gap = 0.0 if self._piece is None or time is None else time - self._piece.end
        if self._piece is not None and self.lost and form == self._piece.form and 0 < gap <= _CONCEALED:
            self._piece.conceal(gap)
            gap = 0.0
        self.lost = False
        if self._piece is None or form != self._piece.form or abs(gap) > _AUDIO_JUMP:
            self._end()
            self._piece = _Piece(form, time or 0.0, self.mix, [channel.name for channel in frame.layout.channels])
        self._piece.add(frame)

    def close(self) -> list[AudioPiece]:
        """Return the pieces that have samples; a change of rate or channels alone does not interrupt the audio."""
        self._end()
        joined: list[AudioPiece] = []
        for piece in self.pieces:
            if joined and len(piece.samples) and abs(piece.start - joined[-1].end) < _SEAM:
                piece = AudioPiece(joined[-1].start, np.concatenate([joined.pop().samples, piece.samples]))
            joined += [piece] if len(piece.samples) else []
        return joined

    def _end(self) -> None:
        if self._piece is not None:
            self.pieces.append(self._piece.close())


class _Piece:
    """Piece under construction, resampled about once a second so that long audio is not held at its original rate."""

    def __init__(self, form: tuple[int, int], start: float, mix: DownMix, channels: list[str]) -> None:
        self._mix, self._channels = mix, channels
        self.form, self.start, self.end = form, start, start
        self.rate = form[0]
        self._resampler = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        self._waiting: list[np.ndarray] = []
        self._done: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._count = self._resampled = 0

    def add(self, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray()
        self._append(samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T)

    def conceal(self, seconds: float) -> None:
        """Fill a gap with the samples before it, in reverse order, so that it begins without a step."""
        assert self._last is not None, "a gap follows a frame"
        count = round(seconds * self.rate)
        self._append(np.resize(self._last[:, ::-1].T, (count, len(self._last))).T)

    def _append(self, channels: np.ndarray) -> None:
        self._waiting.append(channels)
        self._last = channels
        self._count += channels.shape[1]
        self.end = self.start + self._count / self.rate
        if self._count - self._resampled >= self.rate:
            self._resample(last=False)

    def close(self) -> AudioPiece:
        self._resample(last=True)
        return AudioPiece(self.start, np.concatenate(self._done))

    def _resample(self, last: bool) -> None:
        mono = np.zeros(0, np.float32)
        if self._waiting:
            mono = np.ascontiguousarray(self._mix(np.concatenate(self._waiting, axis=1), self._channels))
        self._done.append(self._resampler.resample_chunk(mono, last=last))
        self._waiting, self._resampled = [], self._count


def _is_container(path: str | Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(16)
    return any(head[at : at + len(magic)] == magic for at, magic in _CONTAINERS)
