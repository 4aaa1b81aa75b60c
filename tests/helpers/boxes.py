"""Files that state what no program writes: WAV and QuickTime built from their fields."""

import struct

TONE = struct.pack("<100h", *(320 * (n % 50) - 8000 for n in range(100)))
_SELF = struct.pack(">I", 1)
_UNITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def wav(data: bytes, rate: int, channels: int = 1, extra: bytes = b"") -> bytes:
    """Return a WAV of 16 bits; `extra` are chunks before the samples."""
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels & 0xFFFFFFFF, 2 * channels & 0xFFFF, 16)
    chunks = chunk(b"fmt ", form) + extra + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def box(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), name) + data


def full(name: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(name, struct.pack(">I", flags), *parts)


def table(name: bytes, *rows: tuple[int, ...]) -> bytes:
    return full(name, struct.pack(">I", len(rows)), *(struct.pack(f">{len(row)}I", *row) for row in rows))


def quicktime(
    entry: bytes,
    kind: bytes,
    data: bytes,
    *,
    samples: int,
    size: int,
    duration: int = 1,
    scale: int = 16_000,
    reference: bytes = full(b"url ", flags=1),  # the file itself
) -> bytes:
    """Return a file with one track of `samples` samples of a size in bytes and a duration in ticks of 1/`scale` s."""
    start = 16
    media = full(b"mdhd", struct.pack(">5I", 0, 0, scale, samples * duration, 0))
    handler = full(b"hdlr", bytes(4), kind, bytes(13))
    tables = (
        full(b"stsd", _SELF, entry),
        table(b"stts", (samples, duration)),
        table(b"stsc", (1, samples, 1)),
        full(b"stsz", struct.pack(">II", size, samples)),
        table(b"stco", (start + 8,)),
    )
    places = box(b"dinf", full(b"dref", _SELF, reference))
    head = full(b"vmhd", bytes(8), flags=1) if kind == b"vide" else full(b"smhd", bytes(4))
    track = full(b"tkhd", struct.pack(">5I", 0, 0, 1, 0, 1000), bytes(16), _UNITY, bytes(8), flags=3)
    movie = full(b"mvhd", struct.pack(">4IIH", 0, 0, 1000, 1000, 1 << 16, 256), bytes(10), _UNITY, bytes(24), _SELF)
    inner = box(b"mdia", media, handler, box(b"minf", head, places, box(b"stbl", *tables)))
    return box(b"ftyp", b"qt  \0\0\0\0") + box(b"mdat", data) + box(b"moov", movie, box(b"trak", track, inner))


def video_track(codec: bytes, width: int, height: int, extra: bytes = b"") -> bytes:
    """Return the description of a video track."""
    return box(
        codec,
        struct.pack(">6xH16xHHIIIH", 1, width, height, 72 << 16, 72 << 16, 0, 1),
        bytes(32),
        struct.pack(">Hh", 24, -1),
        extra,
    )


def audio_track(codec: bytes, rate: int, channels: int = 1) -> bytes:
    """Return the description of an audio track of 16 bits."""
    return box(codec, struct.pack(">6xH8xHHHHI", 1, channels, 16, 0, 0, rate << 16))


def alias(path: str) -> bytes:
    """Return a data reference to another file, as the alias of an old Macintosh."""
    name, data = path.rpartition("/")[2].encode(), path.encode()
    record = bytes(4) + struct.pack(">HHH", 150, 2, 0) + bytes([1]) + b"v".ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(data)) + data + bytes(len(data) % 2) + struct.pack(">HH", 0xFFFF, 0)
    return full(b"alis", record)
