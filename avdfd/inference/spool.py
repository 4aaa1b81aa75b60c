"""Windows of a media file that wait on disk to be scored: cut by worker processes, which do without torch."""

import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from avdfd.config import MediaConfig
from avdfd.core.files import naming
from avdfd.core.memory import available_memory
from avdfd.elements import Element, unpack
from avdfd.elements.form import as_window, mel_of
from avdfd.features.window import is_short
from avdfd.media.crops import WindowFace
from avdfd.media.streams import Reading, has_video
from avdfd.media.windows import BUFFER
from avdfd.media.windows import windows as cut_windows

_MOST_BUFFER = 2**30  # 345 frames of 1080p


class Spooled(NamedTuple):
    """A window that waits on disk, so that a long video does not fill the memory."""

    start: float
    end: float
    face: WindowFace | None
    path: Path

    @property
    def short(self) -> bool:
        """True for a clip that is shorter than a window."""
        return is_short(self.start, self.end)


class Cut(NamedTuple):
    """Windows of a file, and the streams they are from."""

    windows: list[Spooled]
    reading: Reading
    left_out: list[dict[str, Any]]
    """`start`, `end` and `reason` of the windows that cannot be scored."""


def spool_windows(
    file: Path,
    media: MediaConfig,
    folder: Path,
    audio_stream: int | None = None,
    video_stream: int | None = None,
    all_faces: bool = False,
    buffer: int = BUFFER,
) -> Cut:
    """Cut a file into windows and store them in a new subfolder. Runs in a worker process. Raises MediaError.

    The mel is left to `read`, as it needs torch. With `all_faces` there is a window for each face that is to be seen in
    it. A file whose decoded frames take more than `buffer` bytes is decoded twice. A file without video, whatever its
    suffix, is cut as audio alone, and so is every file if `media` keeps no frames.
    """
    cv2.setNumThreads(1)  # --workers says how many cores decoding takes
    media = media.model_copy(update={"keep": [kept for kept in media.keep if kept != "mel"]})
    if "frames" not in media.keep:
        media = media.model_copy(update={"repeat_short": True})
    elif video_stream is None and not has_video(file):
        media = media.model_copy(update={"keep": ["waveform"], "repeat_short": True, "whole": False})
    place = Path(tempfile.mkdtemp(dir=folder))
    spooled = []
    reading = Reading(audio_stream, video_stream if "frames" in media.keep else None)
    left_out = []
    for number, window in enumerate(cut_windows(file, media, reading, all_faces=all_faces, buffer=buffer)):
        if "reason" in window:
            left_out.append(window)
            continue
        path = place / str(number)
        with naming(folder):
            path.write_bytes(pickle.dumps(window["parts"]))
        spooled.append(Spooled(window["start"], window["end"], window["face"], path))
    return Cut(spooled, reading, left_out)


def buffer_of(workers: int) -> int:
    """Return the bytes of decoded frames that each of some workers may keep: 10 s of 1080p if memory allows it."""
    return max(BUFFER, min(_MOST_BUFFER, available_memory() // (2 * workers)))


def read(window: Spooled, *, whole: bool = False) -> Element:
    """Return a window that waits on disk, filled if its clip is shorter, with its mel; a whole clip as it was cut."""
    element = unpack(pickle.loads(window.path.read_bytes()))
    if whole:
        return element
    element = as_window(element)
    return replace(element, mel=mel_of(element.waveform))
