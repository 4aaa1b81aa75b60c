"""Detection of a root's layout, and the list of its clips."""

from collections.abc import Callable, Iterable
from pathlib import Path

from avdfd.core.clips import IDENTITY, Entry, is_audio
from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, TIERS
from avdfd.corpora.adapters import OWN_TABLE, fakeavceleb, kodf, kodf_tables, own_table, plain, voxceleb2
from avdfd.corpora.adapters_json import av_deepfake1m, av_deepfake1m_tables, dfdc, dfdc_tables, lav_df, lav_df_table
from avdfd.corpora.adapters_speech import is_speech, speech

LAYOUTS: dict[str, Callable[[Path], Iterable[Entry]]] = {
    "fakeavceleb": fakeavceleb,
    "voxceleb2": voxceleb2,
    "av-deepfake1m": av_deepfake1m,
    "lav-df": lav_df,
    "dfdc": dfdc,
    "kodf": kodf,
    "speech": speech,
    "plain": plain,
    "csv": own_table,
}


def list_entries(root: Path, layout: str = "auto", *, audio: bool = False) -> list[Entry]:
    """Return all clips of a data set in order of their path.

    `layout` is one of LAYOUTS, or "auto" to detect it from folders and tables. With `audio`, audio files without video
    are listed too. Raises UserError for a missing root, another layout, a root without clips, and tables that cannot
    be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the root of the videos")
    name = find_layout(root) if layout == "auto" else layout
    entries = sorted(LAYOUTS[name](root), key=lambda entry: entry.clip.source)
    entries = [entry for entry in entries if audio or not is_audio(entry.clip.source)]
    if all(entry.problem for entry in entries):
        first = f" ({entries[0].clip.source} is {entries[0].problem})" if entries else ""
        expected = (LAYOUTS[name].__doc__ or "").splitlines()[0]
        raise UserError(f"{root}: no video files in the layout {name}{first}; expected {expected}")
    return entries


def find_layout(root: Path) -> str:
    """Detect the layout of a root from its folders and tables. Raises UserError if it is unknown."""
    if any((root / tier.folder).is_dir() for tier in TIERS.values() if tier is not FAKE):
        return "fakeavceleb"
    if (root / OWN_TABLE).is_file():
        return "csv"
    if is_speech(root):
        return "speech"
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
    if kodf_tables(root):
        return "kodf"
    state = "unknown layout" if any(root.iterdir()) else "empty folder"
    raise UserError(
        f"{root}: {state}; expected <tier folder>/<race>/<gender>/<identity>/<clip>, or real/ and fake/, "
        f"or a table {OWN_TABLE}, or the folders and tables of VoxCeleb2, AV-Deepfake1M, LAV-DF, DFDC or KoDF"
    )
