"""Packets of a container's streams, as far as they can be read, on one clock.

FFmpeg's demuxers give up after some bytes that are no packets, and continue when they are called again: zeros that a
camera left behind a recording, or damage in its middle, are passed over. Where time stamps begin again, as in
recordings that were joined end to end, those that follow are moved behind the last ones, of audio and video by the
same.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import av

from avdfd.core.errors import MediaError

_ATTEMPTS, _PASSED_OVER = 16, 4096
"""Attempts without a packet after which a file counts as read: so many, and one for each so many bytes of it."""
_JOINABLE = ("mpegts", "mpeg", "flv", "live_flv", "matroska", "webm", "ogg")
"""Containers without one index of all, which still play when files are joined end to end."""
_BACK = 1.0
"""Time stamps that fall back by more than this many seconds begin again."""
_SEAM = 0.2
"""Seconds between what ends and what begins again, so that nothing runs over the seam."""


def packets_of(container: Any, streams: Sequence[Any], notes: list[str] | None = None) -> Iterator[Any]:
    """Yield the packets of streams in the order of the file, and an empty one of each at its end.

    Packets without content, by which Theora repeats a frame, are left out. `notes` gets one if time stamps begin
    again. Raises MediaError if those of one stream do so and those of another do not, and FFmpeg's errors for a file
    that cannot be read from the disk.
    """
    wanted = {stream.index for stream in streams}
    clock = _Clock() if set(container.format.name.split(",")) & {*_JOINABLE} else None
    # The seam is found from all streams, whichever are wanted, so that audio and video that are read one after the
    # other are moved alike.
    read = [stream for stream in container.streams if stream.type in ("audio", "video")] if clock else streams
    for packet in all_packets(container, read):
        if clock and packet.size:
            clock.move(packet)
        if packet.stream.index in wanted and (packet.size or packet.dts is None):
            yield packet
    if clock:
        times = clock.begun_again(wanted)
        if notes is not None and times:
            notes.append(f"time stamps begin again {times} time{'s' * (times > 1)}")


def all_packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Yield the packets of streams, with the times that are stated, up to the end of the file."""
    most = _ATTEMPTS + (container.size or 0) // _PASSED_OVER
    failed = 0
    while failed < most:
        try:
            for packet in container.demux(*streams):
                failed = 0
                yield packet
            return
        # PyAV raises IndexError for a packet of a stream that the container had not stated when it was opened.
        except (av.InvalidDataError, av.BlockingIOError, IndexError):
            failed += 1
    for stream in streams:
        end = av.Packet()
        end.stream = stream
        yield end


class _Clock:
    """One clock for time stamps that begin again."""

    def __init__(self) -> None:
        self._moved = [0.0]
        """Seconds by which packets are moved, by how often the time stamps of their stream have begun again."""
        self._begun: dict[int, int] = {}
        self._last: dict[int, float] = {}
        """Decoding time of the last packet of each stream in seconds, as stated."""
        self._end = 0.0
        """End of all packets on this clock."""

    def move(self, packet: Any) -> None:
        """Put a packet on this clock."""
        if packet.dts is None:
            return
        index, seconds = packet.stream.index, float(packet.time_base)
        stated = packet.dts * seconds
        if stated < self._last.get(index, stated) - _BACK:
            self._begun[index] = self._begun.get(index, 0) + 1
            if self._begun[index] == len(self._moved):
                self._moved.append(self._end + _SEAM - stated)
        self._last[index] = stated
        moved = self._moved[self._begun.get(index, 0)]
        if moved:
            ticks = round(moved / seconds)
            packet.dts += ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        self._end = max(self._end, (packet.dts + (packet.duration or 0)) * seconds)

    def begun_again(self, indices: set[int]) -> int:
        """Return how often the time stamps of some streams have begun again. Raises MediaError if it differs."""
        times = {self._begun.get(index, 0) for index in indices & self._last.keys()}
        if len(times) > 1:
            raise MediaError("time stamps of its audio and its video begin again at different places")
        return next(iter(times), 0)
