"""Outputs of detect.py: tables and drawings, checked before anything is scored."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import ensure_writable, write_csv
from avdfd.corpora.video_list import VideoList, prediction
from avdfd.inference.verdict import table
from avdfd.media.streams import has_video


def check_table(option: str, path: Path, others: Sequence[Path]) -> None:
    """Raise UserError before any work if a table cannot be written, or would replace one of the other files."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file with {option}")
    if path.resolve() in {other.resolve() for other in others}:
        raise UserError(f"{path}: is an input or another output; name another file with {option}")
    ensure_writable(path.parent)


def check_is_table(path: Path) -> None:
    """Raise UserError if a file that would be replaced by a table is not one: it may be a list of videos."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        if not file.readline().startswith(",".join(table([])[0][:3])):
            raise UserError(
                f"{path}: not a table of detect.py, and not replaced by one; to score the videos of a list, leave out "
                "the files, or name another file with --csv"
            )


def check_drawing(option: str, path: Path, files: list[Path], suffixes: Sequence[str]) -> None:
    """Raise UserError before any work if a drawing cannot be made or written."""
    if len(files) != 1:
        raise UserError(f"{option} draws one file, but there are {len(files)}; call detect.py once for each")
    if option in ("--overlay", "--reconstruct") and lacks_video(files[0]):
        raise UserError(f"{option}: {files[0]} has no video to draw; --plot draws audio alone")
    if path.suffix not in suffixes:
        raise UserError(f"{path}: {option} cannot write this file type; use one of {' '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file for {option}")
    if path.exists() and files[0].exists() and path.samefile(files[0]):
        raise UserError(f"{path}: is the input file; choose another path for {option}")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another path for {option}") from None


def lacks_video(file: Path) -> bool:
    """Return whether a media file is audio alone, by its content. What cannot be read has an error of its own later."""
    try:
        return not has_video(file)
    except MediaError:
        return False


def write_prediction(path: Path, listed: VideoList, scores: Mapping[str, float]) -> int:
    """Write the scores of files, by path, as OpenAVFF's prediction of the videos of a list; return their number."""
    of_source = {video.source: str(file) for video, file in zip(listed.videos, listed.files, strict=True)}
    found = {source: scores[file] for source, file in of_source.items() if file in scores}
    write_csv(path, prediction(listed, found))
    return len(found)
