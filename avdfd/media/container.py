"""Containers: the one place that opens media files, and what holds for their audio and video alike."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from avdfd.core.errors import MediaError
from avdfd.core.files import check_regular
from avdfd.core.signatures import HEAD, signature_of
from avdfd.media.ceilings import PIXELS

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "asf", "ogg", "mxf", "dv", "rm"),
    *("nut", "gxf", "wtv", "dhav", "wav", "w64", "flac", "mp3", "aac", "ac3", "eac3", "aiff", "caf", "au", "amr"),
    *("nistsphere", "wv", "ape", "tta", "dts", "voc", "qcp", "dss"),
)
"""Containers that are read, by FFmpeg's names. None of them opens a second file or an address, as playlists do (concat,
HLS, DASH, SDP) and image sequences."""
_FORMAT_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
_STREAM_OPTIONS = {"max_pixels": str(PIXELS)}
_UNREADABLE = {errno.ENOENT: "no such file", errno.EACCES: "permission denied"}
# A file of which a larger fraction of a stream's frames cannot be decoded is refused.
MOST_DAMAGED = 0.05


@contextmanager
def open_media(path: str | Path) -> Iterator[Any]:
    """Open a container and close it in the end; it is a regular file of one of FORMATS, by its content.

    Its video is decoded up to the ceiling on pixels. Raises MediaError if the file is missing, not readable or of
    another kind, and for FFmpeg's errors on opening and reading.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise MediaError(_UNREADABLE.get(error.errno or 0, error.strerror)) from None
    opened = False
    try:
        with av.open(
            f"file:{path}",  # without "file:", a name with a colon is taken for a URL
            options=_STREAM_OPTIONS,
            container_options=_FORMAT_OPTIONS,
            metadata_errors="replace",  # old programs wrote tags in the encoding of their country
        ) as container:
            opened = True
            for stream in container.streams.video:
                if stream.codec_context is not None:
                    stream.codec_context.options = _STREAM_OPTIONS
            yield container
    except av.FFmpegError as error:
        if not head:
            raise MediaError("empty file") from None
        if not opened and not signature_of(head):
            listed = not isinstance(error, av.ArgumentError)
            raise MediaError("not a media file" if listed else "of a format that is not read (docs/data.md)") from None
        raise MediaError(f"cannot be decoded, damaged or truncated ({error.strerror})") from None


def has_display_times(container: Any, stream: Any) -> bool:
    """Return whether the container states when frames are shown; AVI states only when packets are decoded.

    FFmpeg fills in display times for AVI, which are late and, with B-frames, in disorder. There the n-th frame shown
    has the time of the n-th packet. A codec tag in Matroska marks a stream that was copied from AVI in the same form.
    """
    copied = container.format.name.startswith("matroska") and stream.codec_tag.strip("\0")
    return container.format.name != "avi" and not copied


def check_damage(kind: str, damaged: int, count: int) -> None:
    """Raise MediaError if too many of the frames of a stream, "audio" or "video", cannot be decoded."""
    if damaged > max(MOST_DAMAGED * count, 1):
        raise MediaError(f"damaged: {damaged} of {count} {kind} frames cannot be decoded")
