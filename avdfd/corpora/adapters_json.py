"""Adapters of data sets whose clips are described by JSON tables. See `avdfd.corpora.adapters`."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avdfd.core.clips import IDENTITY, UNKNOWN, Entry, Files, make_entry, reconcile
from avdfd.core.errors import UserError
from avdfd.core.text import columns_of, read_csv, read_json
from avdfd.core.tiers import FAKE, FVFA, FVRA, RVFA, RVRA
from avdfd.core.tree import tidy
from avdfd.corpora.labels import NOT_KNOWN, own_identity, read_label, tier_of
from avdfd.corpora.tables import json_rows, periods_of

_SUBJECT = re.compile(r"silent_videos/subject_\d+")
_DFDC_LABELS = {"REAL": False, "0": False, "FALSE": False, "FAKE": True, "1": True, "TRUE": True}


def av_deepfake1m(files: Files) -> Iterator[Entry]:
    """AV-Deepfake1M and AV-Deepfake1M++: train_metadata.json, val_metadata.json beside the folders of the splits.

    Reads file (relative to its table's folder or to the root), modify_type (real, visual_modified, audio_modified,
    both_modified), original, split, audio_model, video_model (++ only), and fake_segments, audio_fake_segments and
    visual_fake_segments (s). The original of a real clip is its video in VoxCeleb2 or, of a part, the whole clip: the
    base is the first original that the tables list. The segments of a modality that is real are not read: some entries
    repeat those of the other modality there. The identity is the folder `id00012`; in silent_videos it is the subject,
    and elsewhere the corpus and the source video. audio_frames and video_frames are not read: audio_frames lacks 960
    samples of fake audio. The hidden tests (test_files.txt, testA_files.txt, testB_files.txt) have no labels.

    Sources: github.com/ControlNet/AV-Deepfake1M (Cai et al., ACM MM 2024), README for the keys, issue 7 for the 960
    samples, python/avdeepfake1m/loader.py, whose `is_plusplus` differs only in where a JSON file of each clip is, which
    is not read; https://huggingface.co/datasets/ControlNet/AV-Deepfake1M-PlusPlus. What ++ has beyond them is as in
    github.com/dfwb-research/deepfake-workbench (builders/avdeepfake1mpp.py), which lists the validation split.
    """
    root, tables = files.root, av_deepfake1m_tables(files.root)
    if not tables:
        raise UserError(f"{root}: no train_metadata.json or val_metadata.json there, as AV-Deepfake1M has them")
    tiers = {"real": RVRA, "visual_modified": FVRA, "audio_modified": RVFA, "both_modified": FVFA}
    rows: list[tuple[str, str, str, dict[str, Any]]] = []
    originals: dict[str, str | None] = {}
    for table in tables:
        subset = table.name.removesuffix("_metadata.json")
        for number, row in enumerate(json_rows(table, ("file", "modify_type"))):
            kind = str(row["modify_type"]).replace("-", "_")
            if kind not in tiers:
                raise UserError(f"{table}: entry {number}: modify_type '{kind}'; expected one of {', '.join(tiers)}")
            folder = "" if files.find(row["file"]) in files.present else f"{subset}/"
            source = files.find(folder + row["file"])
            rows.append((source, subset, kind, row))
            originals.setdefault(source, files.find(folder + row["original"]) if row.get("original") else None)
    originals = {source: original if original in originals else None for source, original in originals.items()}

    def entry(source: str, subset: str, kind: str, row: dict[str, Any]) -> Entry:
        tier = tiers[kind]
        models = [row.get(f"{name}_model") for name, fake in (("video", tier.video), ("audio", tier.audio)) if fake]
        return make_entry(
            root,
            source,
            tier,
            identities=(_identity(tidy(row["file"])),),
            base=_first_original(source, originals),
            method="+".join(model for model in models if model) or kind,
            split=row.get("split") or subset,
            **periods_of(row, tier, "fake_segments", "audio_fake_segments", "visual_fake_segments"),
        )

    yield from reconcile(files, (entry(*listed) for listed in rows), "*_metadata.json")


def lav_df(files: Files) -> Iterator[Entry]:
    """LAV-DF: metadata.json or metadata.min.json beside the folders train, dev and test.

    Reads file, modify_video, modify_audio, original (a file of the table, or its name alone), split and fake_periods
    (s), in which every modified modality is fake. It does not name the 153 speakers: the original of a clip is used as
    its identity, so one speaker with two originals counts as two. duration and video_frames are not read: duration is
    that of the padded audio. 1,706 files of the release have no entry.

    Sources: github.com/ControlNet/LAV-DF (Cai et al., DICTA 2022), dataset/lavdf.py for the keys, issues 1 (files
    without an entry), 9 (metadata.json has the words with their times besides) and 22 (an entry).
    """
    root, table = files.root, lav_df_table(files.root)
    if table is None:
        raise UserError(f"{root}: no metadata.json or metadata.min.json with a list of clips there, as LAV-DF has it")
    rows = json_rows(table, ("file", "modify_video", "modify_audio"))
    by_name = {PurePosixPath(tidy(row["file"])).name: row["file"] for row in rows}
    originals: dict[str, str | None] = {row["file"]: row.get("original") for row in rows}
    for file, original in originals.items():
        if original and original not in originals:
            originals[file] = by_name.get(PurePosixPath(tidy(original)).name, original)
    listed = []
    for number, row in enumerate(rows):
        first = files.find(_first_original(row["file"], originals))
        video, audio = (_flag(row[key], f"{table}: entry {number}: {key}") for key in ("modify_video", "modify_audio"))
        tier = tier_of(video, audio)
        entry = make_entry(
            root,
            files.find(row["file"]),
            tier,
            identities=(own_identity("lav-df", first),),
            base=first,
            method="real" if tier is RVRA else "lav-df",
            split=row.get("split") or UNKNOWN,
            **(periods_of(row, tier, "fake_periods") if tier else {"problem": NOT_KNOWN}),
        )
        listed.append(entry)
    yield from reconcile(files, listed, table.name)


def dfdc(files: Files) -> Iterator[Entry]:
    """DFDC: parts (dfdc_train_part_0 ...), or the root itself, with a metadata.json or a labels.csv each.

    Reads label (REAL, FAKE) or, as in its test, is_fake (0, 1), original and split; of labels.csv, filename and label
    (0, 1). A file is beside its table or, if there is none, below it. The data set names neither identities nor the
    manipulated modality: the tier of a fake is FAKE, and the original is used as the identity, so one actor with two
    originals counts as two.

    Sources: Dolhansky et al., "The DeepFake Detection Challenge (DFDC) Dataset" (arXiv 2006.07397), which describes no
    files; names and keys as in public code that reads the parts and the test. The preview set (dataset.json) is another
    layout, which is not read.
    """
    root, tables = files.root, dfdc_tables(files.root)
    if not tables:
        raise UserError(
            f"{root}: no metadata.json with labels by file name, nor labels.csv, there or in its folders, as DFDC has "
            "them"
        )
    below: dict[str, list[str]] = {}
    for source in sorted(files.present):
        below.setdefault(PurePosixPath(tidy(source)).name, []).append(source)

    def find(part: PurePosixPath, name: str) -> str:
        beside = files.find((part / name).as_posix())
        inside = [s for s in below.get(PurePosixPath(tidy(name)).name, ()) if part in PurePosixPath(s).parents]
        return inside[0] if beside not in files.present and len(inside) == 1 else beside

    listed: list[Entry] = []
    fakes: dict[str, tuple[bool, Path]] = {}
    for table in tables:
        part = PurePosixPath(table.parent.relative_to(root).as_posix())
        for name, fake, row in _dfdc_rows(table):
            source = find(part, name)
            before, place = fakes.setdefault(source, (fake, table))
            if before != fake:
                raise UserError(f"{table}: {name}: the label contradicts that in {place}; remove one of them")
            if place.parent == table.parent and place != table:
                continue  # labels.csv, which states nothing more
            original = row.get("original") or name
            split = row.get("split") or UNKNOWN
            if not isinstance(original, str) or not isinstance(split, str):
                raise UserError(f"{table}: {name}: its original or split is not a text")
            entry = make_entry(
                root,
                source,
                FAKE if fake else RVRA,
                identities=(f"dfdc:{PurePosixPath(original).stem}",),
                base=find(part, original),
                method="dfdc" if fake else "real",
                split=split,
            )
            listed.append(entry)
    yield from reconcile(files, listed, "metadata.json or labels.csv")


def _dfdc_rows(table: Path) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Yield name, whether it is fake, and further facts of every file in a table of DFDC. Raises UserError."""
    if table.suffix == ".csv":
        rows: list[tuple[str, Any]] = [(row["filename"], {"label": row["label"]}) for _, row in read_csv(table).rows]
    else:
        rows = [*read_json(table, unique=True).items()]
    for name, row in rows:
        facts = row if isinstance(row, dict) else {"label": row}
        label = str(facts.get("label", facts.get("is_fake"))).upper()
        if label not in _DFDC_LABELS or not name:
            raise UserError(f"{table}: {name}: label '{label}'; expected REAL or FAKE, or 0 or 1, also as is_fake")
        yield name, _DFDC_LABELS[label], facts


def av_deepfake1m_tables(root: Path) -> list[Path]:
    """Return the tables of AV-Deepfake1M in a root."""
    return sorted(path for path in root.glob("[!.]*_metadata.json") if path.is_file())


def lav_df_table(root: Path) -> Path | None:
    """Return the table of LAV-DF in a root; the short form is sufficient."""
    tables = [path for path in (root / "metadata.min.json", root / "metadata.json") if _begins(path, b"[")]
    return tables[0] if tables else None


def dfdc_tables(root: Path) -> list[Path]:
    """Return the tables of DFDC in a root and its folders, metadata.json before labels.csv."""
    described = [root / "metadata.json", *sorted(root.glob("*/metadata.json"))]
    labelled = [path for path in (root / "labels.csv", *sorted(root.glob("*/labels.csv"))) if path.is_file()]
    return [
        *(path for path in described if _begins(path, b"{")),
        *(path for path in labelled if {"filename", "label"} <= set(columns_of(path))),
    ]


def _begins(path: Path, mark: bytes) -> bool:
    """Return True if a JSON file begins with a mark. Files may have gigabytes, so only the beginning is read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(mark)


def _flag(cell: Any, place: str) -> int | None:
    """Return a flag of a JSON table, None if it states nothing; a text "false" is no true."""
    try:
        return read_label(cell)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None


def _identity(file: str) -> str:
    places = PurePosixPath(file).parts
    identity = next((place for place in places if IDENTITY.fullmatch(place)), None)
    subject = _SUBJECT.match("/".join(places[:2]))
    return identity or "av-deepfake1m:" + (subject[0] if subject else "/".join(places[:2]))


def _first_original(file: str, originals: dict[str, str | None]) -> str:
    """Return the first clip in the chain of originals of a clip."""
    passed = {file}
    while (before := originals.get(file)) and before not in passed:
        passed.add(before)
        file = before
    return file
