"""Adapter of audio-only speech collections: audio files from many pages, with one table of their origin."""

import re
from collections.abc import Iterator
from pathlib import Path

from avdfd.core.clips import Entry, Files, make_entry, reconcile
from avdfd.core.errors import UserError
from avdfd.core.text import columns_of
from avdfd.core.tiers import RVFA, RVFA_SVC, RVFA_VC, RVRA
from avdfd.corpora.tables import read_table

TABLE = "manifest.csv"
COLUMNS = ("file", "label", "method", "speaker", "pair_id", "source_repo", "notes")

# `kind` in the notes of a fake -> the tier whose audio is made in that way.
_TIERS = {"copysyn": RVFA_SVC, "vc_selfrecon": RVFA_SVC, "vc": RVFA_VC}
# A speaker of VCTK (p225) or LibriSpeech (1089) in a page's own name, such as freevc-F_p253_219.
_IN_A_NAME = re.compile(r"(?<![0-9A-Za-z])(?:(p\d{3})|(\d{2,5}))_\d")


def speech(files: Files) -> Iterator[Entry]:
    """Audio files anywhere below the root, with manifest.csv: file, label (bonafide, spoof or fake), method, speaker,
    pair_id (of the utterance that a fake copies), source_repo (the page), notes (`key=value` separated by `;`).

    `kind` in the notes gives the tier: copysyn, an utterance re-synthesised from its own analysis, is RVFA-SVC; vc, an
    utterance converted to another voice, is RVFA-VC; all others, such as tts, are RVFA. The identities of a fake are
    its speaker and the speaker of the utterance that it copies (`source` in the notes, and the original of its pair).
    Speakers of VCTK and LibriSpeech, also within a page's own name, are the same on all pages; so is every speaker
    with the name of a corpus in capitals. Other speakers are specific to their page.
    """
    root = files.root
    rows = read_table(root / TABLE, COLUMNS, key="file")
    originals = {row["pair_id"]: row for row in rows if row["pair_id"] and _is_real(row, root)}
    listed = []
    for row in rows:
        real = _is_real(row, root)
        notes = dict(note.strip().partition("=")[::2] for note in row["notes"].split(";"))
        original = row if real else originals.get(row["pair_id"], row)
        speakers = (row["speaker"], "" if real else notes.get("source", ""), original["speaker"])
        entry = make_entry(
            root,
            files.find(row["file"]),
            RVRA if real else _TIERS.get(notes.get("kind", ""), RVFA),
            identities=tuple(dict.fromkeys(_identity(name, row["source_repo"]) for name in speakers if name)),
            base=files.find(original["file"]),
            method="real" if real else row["method"],
            page=row["source_repo"],
        )
        listed.append(entry)
    yield from reconcile(files, listed, TABLE)


def is_speech(root: Path) -> bool:
    """Return True if a root has the table of such a collection."""
    path = root / TABLE
    return path.is_file() and {"pair_id", "source_repo"} <= set(columns_of(path))


def _is_real(row: dict[str, str], root: Path) -> bool:
    labels = {"bonafide": True, "real": True, "spoof": False, "fake": False}
    if row["label"] not in labels:
        raise UserError(f"{root / TABLE}: {row['file']}: label '{row['label']}'; expected bonafide or fake")
    return labels[row["label"]]


def _identity(name: str, page: str) -> str:
    """Return a name of the speaker that means the same on every page."""
    corpus, _, number = name.partition("-")
    if corpus.isupper() or (corpus == "Libri" and number.isdigit()):
        return name
    found = _IN_A_NAME.search(name)
    if found:
        return f"VCTK-{found[1]}" if found[1] else f"Libri-{found[2]}"
    return f"{name} ({page})"
