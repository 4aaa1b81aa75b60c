"""Detection of a root's layout, and the list of its clips."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from avdfd.core.clips import IDENTITY, Entry, Files
from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, TIERS
from avdfd.core.tree import tidy
from avdfd.corpora.adapters import OWN_TABLE, fakeavceleb, is_kodf, kodf, own_table, plain, voxceleb2
from avdfd.corpora.adapters_folders import (
    avid,
    avlips,
    digifakeav,
    idforge,
    is_avid,
    is_avlips,
    is_digifakeav,
    is_idforge,
    is_polyglotfake,
    is_talkingheadbench,
    polyglotfake,
    talkingheadbench,
)
from avdfd.corpora.adapters_json import av_deepfake1m, av_deepfake1m_tables, dfdc, dfdc_tables, lav_df, lav_df_table
from avdfd.corpora.adapters_speech import is_speech, speech
from avdfd.corpora.adapters_tables import (
    ATTRIBUTES,
    DEEPFAKE_EVAL,
    DEEPSPEAK,
    MEGA_MMDF,
    deepfake_eval,
    deepspeak,
    is_deepfake_eval,
    is_deepspeak,
    is_mega_mmdf,
    mavos_dd,
    mavos_tables,
    mega_mmdf,
)
from avdfd.corpora.audio_files import audio_files
from avdfd.corpora.labels import only_split
from avdfd.corpora.left_out import LEFT_OUT, why_no_clip
from avdfd.corpora.mapped import MAPPING, mapped, mapping_table

LAYOUTS: dict[str, Callable[[Files], Iterable[Entry]]] = {
    "fakeavceleb": fakeavceleb,
    "voxceleb2": voxceleb2,
    "av-deepfake1m": av_deepfake1m,
    "lav-df": lav_df,
    "dfdc": dfdc,
    "kodf": kodf,
    "speech": speech,
    "plain": plain,
    "csv": own_table,
    "columns": mapped,
    "deepspeak": deepspeak,
    "deepfake-eval-2024": deepfake_eval,
    "mavos-dd": mavos_dd,
    "mega-mmdf": mega_mmdf,
    "avlips": avlips,
    "avid": avid,
    "polyglotfake": polyglotfake,
    "idforge": idforge,
    "digifakeav": digifakeav,
    "talkingheadbench": talkingheadbench,
}
TABLES: dict[str, tuple[str, ...]] = {
    "fakeavceleb": ("meta_data.csv",),
    "voxceleb2": ("vox2_meta.csv",),
    "av-deepfake1m": ("*_metadata.json",),
    "lav-df": ("metadata.json", "metadata.min.json"),
    "dfdc": ("metadata.json", "labels.csv"),
    "kodf": ("*메타데이터*.csv",),
    "speech": ("manifest.csv",),
    "plain": ("manifest.csv",),
    "csv": (OWN_TABLE,),
    "columns": (MAPPING,),
    "deepspeak": DEEPSPEAK,
    "deepfake-eval-2024": DEEPFAKE_EVAL,
    "mavos-dd": ("data-*.arrow", "dataset_info.json", "state.json"),
    "mega-mmdf": (*MEGA_MMDF, ATTRIBUTES),
    "avid": ("metadata.csv",),
    "polyglotfake": ("all_fake_video.json", "all_real_video.json", "[a-z][a-z].json"),
    "idforge": ("train.csv", "val.csv", "test.csv"),
    "talkingheadbench": ("*_dataset_split.json", "*_dataset_split_*.json"),
}
"""Patterns of the names of a layout's tables."""
_FOUND_BY: dict[str, Callable[[Path], object]] = {
    "deepspeak": is_deepspeak,
    "deepfake-eval-2024": is_deepfake_eval,
    "mavos-dd": mavos_tables,
    "mega-mmdf": is_mega_mmdf,
    "avlips": is_avlips,
    "avid": is_avid,
    "polyglotfake": is_polyglotfake,
    "idforge": is_idforge,
    "digifakeav": is_digifakeav,
    "talkingheadbench": is_talkingheadbench,
}
"""Layouts that are detected before plain folders, as some have these too, and what is true for a root of theirs."""
_WRITTEN = ("clones.jsonl", "problems.csv", LEFT_OUT)
_AUDIO = "an audio file, where videos are read"
REPEATED = "a further row of it in the table; the first counts"


class Listing(NamedTuple):
    """Content of a data set's root: every file below it and every row of its tables is in one of the two lists."""

    entries: list[Entry]
    """Clips in order of their path; a mismatch of tables and files is an entry with a problem."""
    others: list[tuple[str, str]]
    """Path and reason of everything else: files that are no clips, folders not entered, repeated rows; in order."""


def list_entries(root: Path, layout: str = "auto", *, audio: bool = False) -> list[Entry]:
    """Return the entries of `read_root`."""
    return read_root(root, layout, audio=audio).entries


def read_root(root: Path, layout: str = "auto", *, audio: bool | None = False) -> Listing:
    """Return all clips of a data set, and all that is no clip.

    `layout` is one of LAYOUTS, or "auto" to detect it from folders and tables. With `audio`, audio files without video
    are clips too; None takes them if there are no videos. Without, a file is opened to see whether it has video, unless
    its suffix says so: then reading it shows that. Raises UserError for a missing root, another layout, a root without
    clips, and tables that cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the root of the videos")
    files = Files(root)
    name = find_layout(root, files) if layout == "auto" else layout
    found = _by_source(LAYOUTS[name](files))
    alone = set() if audio else audio_files(files, found)
    if audio is None and all(entry.problem for source, entry in found.items() if source not in alone):
        alone = set()
    entries = [entry for source, entry in found.items() if source not in alone]
    if all(entry.problem for entry in entries):
        if count := sum(not found[source].problem for source in alone):
            raise UserError(
                f"{root}: no video files in the layout {name}, but {count} of audio alone: give a root with videos; "
                "data/preprocess.py takes audio if media.keep has no frames"
            )
        first = f" ({entries[0].clip.source} is {entries[0].problem})" if entries else ""
        expected = (LAYOUTS[name].__doc__ or "").splitlines()[0]
        raise UserError(f"{root}: no video files in the layout {name}{first}; expected {expected}")
    own = {mapping_table(root)} if name == "columns" else ()
    tables = (*TABLES.get(name, ()), *_WRITTEN)
    others = [
        (source, reason or why_no_clip(files, source, f"outside the folders of the layout {name}"))
        for source, reason in files.all.items()
        if source not in found and (reason or not (source in own or _is_one_of(source, tables)))
    ]
    others += [(source, found[source].problem or _AUDIO) for source in alone]
    others += [(source, REPEATED) for source, entry in found.items() for _ in range(entry.repeated)]
    return Listing(entries, sorted(others))


def _by_source(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return one entry of each source, in order of the sources."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.clip.source, []).append(entry)
    return {source: _joined(found[source]) for source in sorted(found)}


def _joined(entries: list[Entry]) -> Entry:
    """Return the entry of a clip that may have several: the first without a problem, or else the first.

    If those without one contradict each other, that is the problem, and a clip of two splits has none.
    """
    usable = [entry for entry in entries if not entry.problem]
    first = (usable or entries)[0]
    if len(entries) == 1:
        return first
    repeated = sum(entry.repeated for entry in entries) + len(entries) - 1
    first = replace(first, repeated=repeated, split=only_split(entry.split for entry in usable or [first]))
    tiers = [TIERS[name] for name in dict.fromkeys(entry.clip.tier for entry in usable)]
    for labels in zip(*((tier.label, tier.video, tier.audio) for tier in tiers), strict=True):
        if len({*labels} - {None}) > 1:
            return replace(first, problem=f"its rows contradict each other: {', '.join(tier.name for tier in tiers)}")
    return first


def _is_one_of(source: str, patterns: Iterable[str]) -> bool:
    """Return True for a table of the layout, or a list that a script wrote; hidden files are none."""
    name = PurePosixPath(tidy(source)).name
    return not name.startswith(".") and any(fnmatch(name, pattern) for pattern in patterns)


def find_layout(root: Path, files: Files | None = None) -> str:
    """Detect the layout of a root from its folders and tables. Raises UserError if it is unknown.

    `files` are those below the root, if they are known.
    """
    if any((root / tier.folder).is_dir() for tier in TIERS.values() if tier is not FAKE):
        return "fakeavceleb"
    if (root / OWN_TABLE).is_file():
        return "csv"
    if (root / MAPPING).is_file():
        return "columns"
    if is_speech(root):
        return "speech"
    for name, found in _FOUND_BY.items():
        if found(root):
            return name
    if (root / "real").is_dir() or (root / FAKE.folder).is_dir():
        return "plain"
    if lav_df_table(root):
        return "lav-df"
    if av_deepfake1m_tables(root):
        return "av-deepfake1m"
    if dfdc_tables(root):
        return "dfdc"
    if any(IDENTITY.fullmatch(path.name) for depth in ("*", "*/*", "*/*/*") for path in root.glob(depth)):
        return "voxceleb2"
    if is_kodf(files or Files(root)):
        return "kodf"
    state = "unknown layout" if any(root.iterdir()) else "empty folder"
    raise UserError(
        f"{root}: {state}; expected <tier folder>/<race>/<gender>/<identity>/<clip>, or real/ and fake/, "
        f"or a table {OWN_TABLE} or {MAPPING}, or the folders and tables of a data set in docs/data.md"
    )
