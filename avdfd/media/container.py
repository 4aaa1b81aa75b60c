"""Containers: opening them, and what holds for their audio and video alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from avdfd.core.errors import MediaError
from avdfd.media.streams import has_stream

# A file of which a larger fraction of a stream's frames cannot be decoded is refused.
MOST_DAMAGED = 0.05
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


def check_damage(kind: str, damaged: int, count: int) -> None:
    """Raise MediaError if too many of the frames of a stream, "audio" or "video", cannot be decoded."""
    if damaged > max(MOST_DAMAGED * count, 1):
        raise MediaError(f"damaged: {damaged} of {count} {kind} frames cannot be decoded")


def _is_container(path: str | Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(16)
    return any(head[at : at + len(magic)] == magic for at, magic in _CONTAINERS)
