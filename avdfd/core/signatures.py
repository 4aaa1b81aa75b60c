"""Signatures of media formats: what a file may be, by its first bytes.

A signature decides which files are tried; what a file is, opening it decides (avdfd/media/container.py).
"""

import os
from typing import Literal

HEAD = 400
"""Bytes that signatures look at: three packets of an MPEG transport stream, in either size."""
Signature = Literal["audio", "media", ""]
"""Format that has audio alone, or may have video, or neither."""

_MEDIA = (  # offset, bytes
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (0, b"OggS"),
    (0, b"FLV"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF
    (0, b"\0\0\1\xba"),  # MPEG program stream
    (0, b".RMF"),
    (0, b"nut/multimedia container"),
    (0, b"\0\0\0\0\1\xbc"),  # GXF
    (0, b"\xb7\xd8\0\x20\x37\x49\xda\x11"),  # WTV
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"\x1f\x07\0"),  # DV
    (0, b"DHAV"),
    (0, b"DAHUA"),
    *((4, box) for box in (b"moov", b"mdat")),
)
_AUDIO = (
    (0, b"fLaC"),
    (0, b"ID3"),
    (0, b"RF64"),
    (0, b"riff\x2e\x91\xcf\x11"),  # W64
    (0, b"\x0b\x77"),  # AC-3
    (0, b"\x7f\xfe\x80\1"),  # DTS
    (0, b"caff"),
    (0, b".snd"),
    (0, b".ra\xfd"),
    (0, b"#!AMR"),
    (0, b"NIST_1A"),
    (0, b"wvpk"),
    (0, b"MAC "),
    (0, b"TTA1"),
    (0, b"Creative Voice File"),
    (0, b"\2dss"),
    (0, b"\3dss"),
)
_RIFF: dict[bytes, Signature] = {
    b"AVI ": "media",
    b"WAVE": "audio",
    b"QLCM": "audio",
    b"AIFF": "audio",
    b"AIFC": "audio",
}
_BRANDS: dict[bytes, Signature] = {
    **dict.fromkeys((b"M4A ", b"M4B "), "audio"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx "), ""),
}
"""Brands of MP4 that have no video: audio, and images."""


def signature_of(head: bytes) -> Signature:
    """Return the kind of format that the first HEAD bytes of a file are of."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "media")
    if head[:4] in (b"RIFF", b"FORM"):
        return _RIFF.get(head[8:12], "")
    if _starts(head, _MEDIA) or _is_quicktime(head) or _is_transport_stream(head):
        return "media"
    return "audio" if _starts(head, _AUDIO) or _is_mpeg_audio(head) else ""


def read_signature(path: str | os.PathLike[str]) -> Signature:
    """Return the signature of a regular file, "" if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return signature_of(file.read(HEAD))
    except OSError:
        return ""


def _starts(head: bytes, signatures: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head.startswith(magic, at) for at, magic in signatures)


def _is_quicktime(head: bytes) -> bool:
    """Return True for a box that old QuickTime files begin with. Its name is a word, so its size has to be small."""
    return head[4:8] in (b"wide", b"free", b"skip", b"pnot") and head[:1] == b"\0"


def _is_transport_stream(head: bytes) -> bool:
    """Return True if three packets begin with the sync byte, or with a time stamp before it, as in M2TS."""
    return any(head[at::size][:3] == b"GGG" for at, size in ((0, 188), (4, 192)))


def _is_mpeg_audio(head: bytes) -> bool:
    """Return True for a frame header of MP3 or AAC without tags before it.

    Layer I, which has the bytes of UTF-16's byte-order mark, is none.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    if head[1] & 0xF6 == 0xF0:  # AAC
        return (head[2] >> 2) & 15 < 13
    version, layer, bit_rate, rate = (head[1] >> 3) & 3, (head[1] >> 1) & 3, head[2] >> 4, (head[2] >> 2) & 3
    return version != 1 and layer in (1, 2) and bit_rate not in (0, 15) and rate != 3
