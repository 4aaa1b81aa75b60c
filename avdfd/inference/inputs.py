"""The files that detect.py is given, and how they are cut: as the elements of the run's training were."""

from pathlib import Path

from avdfd.config import MediaConfig
from avdfd.core.clips import AUDIO_SUFFIXES, SUFFIXES, is_media
from avdfd.core.errors import UserError
from avdfd.core.files import kind_of
from avdfd.core.tree import walk
from avdfd.corpora.left_out import NO_MEDIA


def find_files(paths: list[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return the files, and the media files in folders, each once; and what else is in the folders, with the reason.

    Links to folders are followed. Raises UserError for a path without any.
    """
    files: list[Path] = []
    left_out: dict[Path, str] = {}
    known = SUFFIXES | AUDIO_SUFFIXES
    for path in paths:
        if path.is_dir():
            inside = {path / name: reason for name, reason in walk(path)}
            found = {
                file
                for file, reason in inside.items()
                if not reason and is_media(file.name, file.parent) and file.is_file()
            }
            if not found:
                raise UserError(f"{path}: no media file in this folder; known types are {' '.join(sorted(known))}")
            left_out |= {file: inside[file] or f"hidden, or {NO_MEDIA}" for file in sorted(inside.keys() - found)}
            files += sorted(found)
        elif path.is_file():
            files.append(path)
        elif path.exists():
            raise UserError(f"{path}: a {kind_of(path.stat().st_mode)}, not a file; name a media file")
        else:
            raise UserError(f"{path}: no such file or folder; correct the path")
    return list(dict.fromkeys(files)), left_out


def cut_as_in_training(media: MediaConfig, trained: MediaConfig | None, *, hop: bool, whole_frame: bool) -> MediaConfig:
    """Return the settings with those by which the elements of the training were cut, so that scores are the same.

    A hop or the whole frame that the user asked for has precedence; with such a hop, all of a file is judged.
    """
    if trained is not None:
        names = ("face", "trim_silence", "jpeg_quality", *(("hop", "max_windows") if not hop else ()))
        media = media.model_copy(update={name: getattr(trained, name) for name in names})
    return media.model_copy(update={"face": None}) if whole_frame else media
