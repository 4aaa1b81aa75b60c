"""Audio files among the media files of a data set, where videos are read."""

import os
from collections.abc import Iterable

from avdfd.core.clips import SUFFIXES, Files, is_audio
from avdfd.core.signatures import read_signature
from avdfd.core.workers import Failure, count_or_cores, run_killable
from avdfd.media.streams import has_video

_TIME_LIMIT = 60.0  # seconds to open a file


def audio_files(files: Files, sources: Iterable[str]) -> set[str]:
    """Return the sources that are audio alone.

    Those with a suffix of video are passed over: whoever reads them finds no video stream. Of the others, few have to
    be opened, as most formats of audio show in the first bytes. A file that is missing or cannot be opened is what its
    suffix says.
    """
    found, doubtful = set(), {}
    for source in sources:
        if os.path.splitext(source)[1].lower() in SUFFIXES:
            continue
        signature = read_signature(files.root / source) if source in files.present else ""
        if signature == "media":
            doubtful[files.root / source] = source
        elif signature == "audio" or is_audio(source):
            found.add(source)
    workers = min(count_or_cores(0), len(doubtful))
    for path, shows in run_killable(has_video, doubtful, workers=workers, time_limit=_TIME_LIMIT):
        if not shows or (isinstance(shows, Failure) and is_audio(doubtful[path])):
            found.add(doubtful[path])
    return found
