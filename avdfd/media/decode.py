"""Sound and pictures of a media file, on the time line of its container.

Times are seconds as the container states them, so that sound and picture keep their offset. A frame is decoded once,
and turned into RGB only when it is asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from av.video.reformatter import VideoReformatter

from avdfd.core.errors import MediaError
from avdfd.features.mel import FACE_SIZE, SAMPLE_RATE

# Sound whose time stamps jump by more than this is two pieces; less is rounding of the container (MKV counts in ms).
_AUDIO_JUMP = 0.05
# A file that ends this much before its stated duration has lost its end.
_LOST = 1.0
# The first bytes of containers, at their offset: tells a damaged video from a file that never was one.
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
    """An unbroken piece of sound: mono float32 at 16 kHz, its first sample at `start` seconds."""

    start: float
    samples: np.ndarray

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


class Frame(ABC):
    """A picture that is shown from `time` on, for about `duration` seconds."""

    def __init__(self, time: float, duration: float) -> None:
        self.time = time
        self.duration = duration
        self.encoded: dict[Hashable, bytes] = {}
        """Packed crops by their place: a frame that is part of several windows is packed once."""

    @abstractmethod
    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8, upright and with square pixels."""

    @abstractmethod
    def gray(self) -> np.ndarray:
        """(H, W) uint8, upright and with square pixels."""


def read_audio(path: str | Path, *, video: bool = True) -> list[AudioPiece]:
    """The sound of a file as unbroken pieces; its channels are averaged.

    Raises MediaError, also if the file ends before the time it states, or has no `video` where one is wanted.
    """
    with open_media(path) as container:
        picture = first_stream(container, "video") if video or _streams(container, "video") else None
        audio = first_stream(container, "audio")
        shown = [0.0]  # the packets of the video tell how far it goes, at no cost
        pieces = _join(_decoded(container, audio, picture, shown), float(audio.time_base))
        stated = (container.duration or 0) / av.time_base
        begin = (container.start_time or 0) / av.time_base
    if not pieces:
        raise MediaError("no sound could be decoded")
    there = max(pieces[-1].end, *shown) - begin
    if there < stated - _LOST:
        raise MediaError(f"truncated: {there:.2f} s of the stated {stated:.2f} s are there")
    return pieces


def read_waveform(path: str | Path) -> np.ndarray:
    """The sound (S,) float32 of a file with or without pictures, mono at 16 kHz; gaps in it are left out.

    Raises MediaError.
    """
    return np.concatenate([piece.samples for piece in read_audio(path, video=False)])


def read_video(path: str | Path, decoder: str) -> Iterator[Frame]:
    """The frames of a file in the order they are shown, by the decoder "pyav" or "decord". Raises MediaError."""
    last = -np.inf
    for frame in _pyav_frames(path) if decoder == "pyav" else _decord_frames(path):
        if frame.time > last:  # some AVI files state a time twice
            yield frame
            last = frame.time


@contextmanager
def open_media(path: str | Path) -> Iterator[Any]:
    """An open container, closed in the end; what FFmpeg has against it, then or while it is read, is a MediaError."""
    try:
        with av.open(f"file:{path}") as container:  # else a colon in the name makes its start a protocol
            yield container
    except FileNotFoundError:
        raise MediaError("no such file") from None
    except PermissionError:
        raise MediaError("may not be read") from None
    except av.FFmpegError as error:
        if Path(path).stat().st_size == 0:
            raise MediaError("empty file") from None
        if not _is_container(path):
            raise MediaError("not a media file") from None
        raise MediaError(f"cannot be decoded, damaged or truncated ({error.strerror})") from None


def first_stream(container: Any, kind: str) -> Any:
    """The first stream of a kind, "video" or "audio", cover pictures aside. Raises MediaError if there is none."""
    streams = _streams(container, kind)
    if not streams:
        raise MediaError(f"no {kind} stream")
    if streams[0].codec_context is None:
        raise MediaError(f"no decoder for its {kind} stream")
    return streams[0]


def _streams(container: Any, kind: str) -> list[Any]:
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams if stream.type == kind and not stream.disposition & cover]


class _Picture:
    """Turns the decoded frames of one stream into arrays; setting a conversion up costs as much as two conversions."""

    def __init__(self, stream: Any) -> None:
        self.seconds = float(stream.time_base)
        aspect = float(stream.sample_aspect_ratio or 1)
        # A face crop of the final size is never resampled, whatever its pixel aspect says.
        square = abs(aspect - 1) < 0.02 or (stream.width, stream.height) == (FACE_SIZE, FACE_SIZE)
        self._aspect = 1 if square else aspect
        self._converters = {"rgb24": VideoReformatter(), "gray": VideoReformatter()}

    def array(self, frame: av.VideoFrame, form: str) -> np.ndarray:
        width = round(frame.width * self._aspect)
        picture = self._converters[form].reformat(frame, width=width, format=form).to_ndarray()
        return np.rot90(picture, round(frame.rotation / 90) % 4)


class _PyavFrame(Frame):
    def __init__(self, frame: av.VideoFrame, time: int, picture: _Picture) -> None:
        super().__init__(time * picture.seconds, (frame.duration or 0) * picture.seconds)
        self._frame, self._picture = frame, picture

    def rgb(self) -> np.ndarray:
        return self._picture.array(self._frame, "rgb24")

    def gray(self) -> np.ndarray:
        return self._picture.array(self._frame, "gray")


class ArrayFrame(Frame):
    """A picture (H, W, 3) uint8 that is there already."""

    def __init__(self, picture: np.ndarray, time: float, duration: float) -> None:
        super().__init__(time, duration)
        self._picture = picture

    def rgb(self) -> np.ndarray:
        return self._picture

    def gray(self) -> np.ndarray:
        return (self._picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)


def _pyav_frames(path: str | Path) -> Iterator[Frame]:
    with open_media(path) as container:
        stream = first_stream(container, "video")
        stream.thread_count = 1  # there is one worker per core already
        picture = _Picture(stream)
        for frame in container.decode(stream):
            time = frame.pts if frame.pts is not None else frame.dts
            if time is not None:
                yield _PyavFrame(frame, time, picture)


def _decord_frames(path: str | Path) -> Iterator[Frame]:
    import decord  # it has no wheel for some platforms, and is not the default

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))
        # decord counts from a start of its own, which is neither the container's nor that of the sound.
        first = next(_pyav_frames(path), None)
        offset = 0.0 if first is None else first.time - float(stamps[0, 0])
        for start, end in stamps:
            yield ArrayFrame(reader.next().asnumpy(), float(start) + offset, float(end - start))
    except decord.DECORDError as error:
        raise MediaError(f"cannot be decoded by decord: {str(error).splitlines()[0]}") from None


def _decoded(container: Any, audio: Any, video: Any | None, shown: list[float]) -> Iterator[av.AudioFrame]:
    """Audio frames; on the way, the times of the video's packets are added to `shown`."""
    for packet in container.demux(*(stream for stream in (audio, video) if stream is not None)):
        if packet.stream is audio:
            yield from packet.decode()
        elif packet.pts is not None and video is not None:
            shown.append(float(packet.pts * video.time_base))


def _join(frames: Iterator[av.AudioFrame], seconds: float) -> list[AudioPiece]:
    """Audio frames -> pieces. A jump of the time stamps, or a change of rate or channels, begins a new one."""
    pieces: list[AudioPiece] = []
    piece: _Piece | None = None
    for frame in frames:
        form = (frame.rate, frame.layout.nb_channels)
        time = None if frame.pts is None else frame.pts * seconds
        if piece is None or form != piece.form or (time is not None and abs(time - piece.end) > _AUDIO_JUMP):
            if piece is not None:
                pieces.append(piece.close())
            piece = _Piece(form, time or 0.0)
        piece.add(frame)
    if piece is not None:
        pieces.append(piece.close())
    return [p for p in pieces if len(p.samples)]


class _Piece:
    """Sound at its own rate, resampled every second or so, so that a long file is never held at its full rate."""

    def __init__(self, form: tuple[int, int], start: float) -> None:
        self.form, self.start, self.end = form, start, start
        self.rate = form[0]
        self._resampler = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        self._waiting: list[np.ndarray] = []
        self._done: list[np.ndarray] = []
        self._count = self._resampled = 0

    def add(self, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
        self._waiting.append(channels)
        self._count += frame.samples
        self.end = self.start + self._count / self.rate
        if self._count - self._resampled >= self.rate:
            self._resample(last=False)

    def close(self) -> AudioPiece:
        self._resample(last=True)
        return AudioPiece(self.start, np.concatenate(self._done))

    def _resample(self, last: bool) -> None:
        mono = _mono(np.concatenate(self._waiting, axis=1)) if self._waiting else np.zeros(0, np.float32)
        self._done.append(self._resampler.resample_chunk(mono, last=last))
        self._waiting, self._resampled = [], self._count


def _mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels (c, n) of any sample type -> (n,) float32 in [-1, 1]."""
    if samples.dtype == np.uint8:
        samples = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32).mean(axis=0)


def _is_container(path: str | Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(16)
    return any(head[at : at + len(magic)] == magic for at, magic in _CONTAINERS)
