"""Audio of a media file, mono at 16 kHz, with the times of its container.

Times are seconds as the container states them, so that audio and video keep their offset.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import soxr

from avdfd.core.errors import MediaError
from avdfd.features.acoustics import SILENCE
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.ceilings import check_audio, check_seconds, longest_audio
from avdfd.media.container import check_damage, open_media
from avdfd.media.downmix import DownMix, full_scale
from avdfd.media.packets import packets_of
from avdfd.media.streams import Reading, candidates, first_stream, has_stream
from avdfd.media.truncation import Extent

# A larger jump of the time stamps (seconds) splits audio into pieces; a smaller one is rounding (MKV counts in ms).
_AUDIO_JUMP = 0.05
# Pieces that follow each other within these seconds are one: their rate changes, as when SBR begins in HE-AAC.
_SEAM = 0.005
# Audio packets that cannot be decoded are concealed up to this many seconds in a row.
_CONCEALED = 0.1


@dataclass(frozen=True)
class AudioPiece:
    """Continuous piece of audio: mono float32 at 16 kHz whose first sample is at `start` seconds."""

    start: float
    samples: np.ndarray

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


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
    reading.notes += [*track.notes, *_gaps(track.pieces)]
    return track.pieces


def _gaps(pieces: Sequence[AudioPiece]) -> list[str]:
    """Return a note on the gaps between pieces, which no window spans, if there are any."""
    gaps = [(one.end, other.start) for one, other in itertools.pairwise(pieces) if other.start - one.end > _AUDIO_JUMP]
    if not gaps:
        return []
    seconds = sum(end - start for start, end in gaps)
    count = f"{len(gaps)} gap{'s' * (len(gaps) > 1)}"
    return [f"{count} in the audio, {seconds:.2f} s without any, the first at {gaps[0][0]:.2f} s"]


def join_pieces(pieces: Sequence[AudioPiece], end: float) -> np.ndarray:
    """Join the audio pieces of a file to (S,), from the start of the first piece to `end` seconds; gaps are zeros.

    Raises MediaError if that is longer than a file may be.
    """
    begin = pieces[0].start
    check_seconds(end - begin)
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


def is_silent(samples: np.ndarray) -> bool:
    """Return whether audio is below -70 dBFS."""
    return bool(np.sqrt(np.dot(samples, samples) / len(samples)) < SILENCE)


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
        reading.has_video = has_stream(container, "video")
        shown = [first_stream(container, "video", reading.video_stream)] if video else []
        indices[:] = indices or [stream.index for stream in candidates(container, "audio", reading.audio_stream)]
        index = indices[number]
        streams = [container.streams[index], *shown]
        extents = {stream.index: Extent(path, container, stream) for stream in streams}
        decoder = streams[0].codec_context
        codec = decoder.name
        if decoder.sample_rate and decoder.layout.nb_channels:  # else they are known once a frame is decoded
            check_audio(decoder.sample_rate, decoder.layout.nb_channels)
        joiner = _Joiner(float(streams[0].time_base), mix, longest_audio(path))
        for packet in packets_of(container, streams, found.notes):
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
    check_damage("audio", damaged, count)
    better = mix.better(found)
    if better:
        track = _read_track(path, indices, number, reading, better, video=video)
        return replace(track, notes=[*dict.fromkeys(found.notes + track.notes)])
    ends = [end for piece in pieces for end in (piece.samples.min(), piece.samples.max())]
    scale = full_scale(float(np.abs(ends).max()), codec, found)
    if scale != 1:
        pieces = [AudioPiece(piece.start, piece.samples * np.float32(scale)) for piece in pieces]
    return _Track(index, pieces, damaged, found.notes)


class _Joiner:
    """Joins audio frames to pieces; a jump of the time stamps or a change of rate or channels starts a new piece."""

    def __init__(self, seconds: float, mix: DownMix, longest: float) -> None:
        self.seconds, self.mix, self.longest = seconds, mix, longest
        self.read = 0.0
        """Seconds of audio read."""
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
            check_audio(*form)
            self._piece = _Piece(form, time or 0.0, self.mix, [channel.name for channel in frame.layout.channels])
        self._piece.add(frame)
        self.read += frame.samples / frame.rate
        check_seconds(self.read, self.longest)

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
    """Piece under construction, resampled about once a second so that long audio is not held at its original rate.

    What is resampled is in one array that grows in place: joining its parts in the end would take twice the memory.
    """

    def __init__(self, form: tuple[int, int], start: float, mix: DownMix, channels: list[str]) -> None:
        self._mix, self._channels = mix, channels
        self.form, self.start, self.end = form, start, start
        self.rate = form[0]
        self._resampler = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        self._block = self.rate * 8 // max(form[1], 8)  # samples that are resampled at once; fewer of many channels
        self._waiting: list[np.ndarray] = []
        self._samples, self._length = np.zeros(0, np.float32), 0
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
        if self._count - self._resampled >= self._block:
            self._resample(last=False)

    def close(self) -> AudioPiece:
        self._resample(last=True)
        self._samples.resize(self._length, refcheck=False)
        return AudioPiece(self.start, self._samples)

    def _resample(self, last: bool) -> None:
        mono = np.zeros(0, np.float32)
        if self._waiting:
            mono = np.ascontiguousarray(self._mix(np.concatenate(self._waiting, axis=1), self._channels, self.rate))
        self._keep(self._resampler.resample_chunk(mono, last=last))
        self._waiting, self._resampled = [], self._count

    def _keep(self, samples: np.ndarray) -> None:
        before, self._length = self._length, self._length + len(samples)
        if self._length > len(self._samples):
            self._samples.resize(self._length + self._length // 8 + SAMPLE_RATE, refcheck=False)
        self._samples[before : self._length] = samples
