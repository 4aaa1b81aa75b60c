"""Collections of speech without pictures: sound files from many pages, with one table of where each is from."""

import re
from collections.abc import Iterator
from pathlib import Path

from avdfd.core.clips import Entry, make_entry, media_files, reconcile
from avdfd.core.errors import UserError
from avdfd.core.tiers import RVFA, RVFA_SVC, RVFA_VC, RVRA
from avdfd.corpora.tables import read_table

TABLE = "manifest.csv"
COLUMNS = ("file", "label", "method", "speaker", "pair_id", "source_repo", "notes")

# How a fake was made, by the `kind` in its notes -> the tier whose sound is made like that.
_TIERS = {"copysyn": RVFA_SVC, "vc_selfrecon": RVFA_SVC, "vc": RVFA_VC}
# A speaker of VCTK (p225) or LibriSpeech (1089) in a name that a page made up: freevc-F_p253_219.
_IN_A_NAME = re.compile(r"(?<![0-9A-Za-z])(?:(p\d{3})|(\d{2,5}))_\d")


def speech(root: Path) -> Iterator[Entry]:
    """Sound files anywhere below the root, with manifest.csv: file, label (bonafide, spoof or fake), method, speaker,
    pair_id (of the utterance that a fake says again), source_repo (the page), notes (`key=value` with `;` between).

    The notes' `kind` gives the tier: copysyn, an utterance made again from its own analysis, is RVFA-SVC; vc, a voice
    converted to another one's, RVFA-VC; all others, as tts, RVFA. A fake is of its speaker and of whose utterance it
    says again (`source` in the notes, and the original of its pair). A speaker is the same on all pages where it has
    the same name; one of VCTK or LibriSpeech also within a name of a page's own. The others are of their page alone.
    """
    rows = read_table(root / TABLE, COLUMNS)
    originals = {row["pair_id"]: row for row in rows if row["pair_id"] and _is_real(row, root)}
    listed = {}
    for row in rows:
        real = _is_real(row, root)
        notes = dict(note.strip().partition("=")[::2] for note in row["notes"].split(";"))
        original = row if real else originals.get(row["pair_id"], row)
        people = (row["speaker"], "" if real else notes.get("source", ""), original["speaker"])
        listed[row["file"]] = make_entry(
            root,
            row["file"],
            RVRA if real else _TIERS.get(notes.get("kind", ""), RVFA),
            identities=tuple(dict.fromkeys(_person(name, row["source_repo"]) for name in people if name)),
            base=original["file"],
            method="real" if real else row["method"],
            page=row["source_repo"],
        )
    yield from reconcile(root, set(media_files(root)), listed, TABLE)


def is_speech(root: Path) -> bool:
    """Whether a root has the table of such a collection."""
    path = root / TABLE
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return {"pair_id", "source_repo"} <= set(file.readline().strip().split(","))


def _is_real(row: dict[str, str], root: Path) -> bool:
    labels = {"bonafide": True, "real": True, "spoof": False, "fake": False}
    if row["label"] not in labels:
        raise UserError(f"{root / TABLE}: {row['file']}: label '{row['label']}'; expected bonafide or fake")
    return labels[row["label"]]


def _person(name: str, page: str) -> str:
    """The speaker by a name that means the same on every page."""
    corpus, _, number = name.partition("-")
    if corpus.isupper() or (corpus == "Libri" and number.isdigit()):
        return name
    found = _IN_A_NAME.search(name)
    if found:
        return f"VCTK-{found[1]}" if found[1] else f"Libri-{found[2]}"
    return f"{name} ({page})"
