"""Truncated files: those whose packets end before the index of the very stream says.

The duration that a container states is no index: it may be that of another stream, an estimate, or count from another
origin. A file without an index is taken as it plays, to its end.
"""

from pathlib import Path
from typing import Any

import av

from avdfd.core.errors import MediaError

_LOST = 1.0
"""A stream of which at most this many seconds are missing is whole."""
_UNKNOWN = 0x7FFF0000
"""Size from which on a RIFF file (WAV, AVI) states a placeholder: it was written before its length was known."""
_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # of Matroska


class Extent:
    """Count and end of the packets read of a stream, to be compared with its index."""

    def __init__(self, path: str | Path, container: Any, stream: Any) -> None:
        self.path, self.container, self.stream = Path(path), container, stream
        self.count = 0
        self.end: int | None = None
        """End of the packets read, in ticks of the stream."""

    def add(self, packet: Any) -> None:
        """Count a packet."""
        if packet.size:
            self.count += 1
            if packet.dts is not None:
                self.end = max(packet.dts + (packet.duration or 0), self.end or 0)

    def check(self) -> None:
        """Raise MediaError if packets are missing, after the last one has been read."""
        found = (self.end or 0) * float(self.stream.time_base)
        stated = self._stated(found)
        if found < stated - _LOST:
            raise MediaError(f"truncated: {found:.2f} s of the stated {stated:.2f} s exist")

    def _stated(self, found: float) -> float:
        """Return the end of the stream in seconds by its index, or `found` if there is none."""
        name, seconds, stream = self.container.format.name, float(self.stream.time_base), self.stream
        size = self.path.stat().st_size
        if name.startswith("mov") and self.count < len(stream.index_entries):
            return float(stream.index_entries[-1].timestamp * seconds)
        if name == "flac":
            return float(((stream.start_time or 0) + (stream.duration or 0)) * seconds)
        if name == "mp3":  # of a file with other data behind the audio, FFmpeg would guess the length from its size
            rate = stream.codec_context.sample_rate
            return _frame_count(self.path) * (1152 if rate >= 32_000 else 576) / rate if rate else found
        if name == "wav":  # FFmpeg reduces what the header states to what there is
            return found * max(_size_of_riff(self.path), size) / size
        if name == "avi" and _size_of_riff(self.path) > size:
            return float(stream.frames * seconds)
        if name.startswith("matroska") and _size_of_matroska(self.path) > size and self.container.duration:
            return float(self.container.duration / av.time_base)
        return found


def _frame_count(path: Path) -> int:
    """Return the number of frames that an MP3 states (Xing, Info or VBRI header); 0 if it does not."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            file.seek(10 + size)
        else:
            file.seek(0)
        head = file.read(1024)
    for name in (b"Xing", b"Info", b"VBRI"):
        at = head.find(name)
        if at >= 0 and (name == b"VBRI" or head[at + 7] & 1):
            place = at + (14 if name == b"VBRI" else 8)
            return int.from_bytes(head[place : place + 4], "big")
    return 0


def _size_of_riff(path: Path) -> int:
    """Return the size in bytes of a RIFF file by its header; 0 if it does not say."""
    with path.open("rb") as file:
        head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return size + 8 if head[:4] == b"RIFF" and size < _UNKNOWN else 0


def _size_of_matroska(path: Path) -> int:
    """Return the size in bytes of a Matroska file by the size of its segment; 0 if it does not say."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = 0
    while at + 12 < len(head):
        length = 9 - head[at + 4].bit_length()  # of the number that follows: the first byte says how long it is
        body = at + 4 + length
        size = int.from_bytes(head[at + 4 : body], "big") & (1 << 7 * length) - 1
        if head[at : at + 4] == _SEGMENT:
            return 0 if size == (1 << 7 * length) - 1 else body + size
        if head[at : at + 4] != _HEADER:
            return 0
        at = body + size
    return 0
