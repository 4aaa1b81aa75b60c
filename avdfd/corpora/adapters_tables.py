"""Adapters of data sets of 2024 to 2026 that tables describe. See `avdfd.corpora.adapters`.

Written from the published documents that each adapter names; none has been tried on the data set itself.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avdfd.core.clips import UNKNOWN, Entry, Files, make_entry, reconcile
from avdfd.core.errors import UserError
from avdfd.core.text import read_json
from avdfd.core.tiers import RVRA
from avdfd.core.tree import tidy
from avdfd.corpora.labels import NOT_KNOWN, only_split, own_identity, read_label, tier_of
from avdfd.corpora.rows import read_rows
from avdfd.corpora.tables import periods_of

DEEPSPEAK = ("annotations-fake.csv", "annotations-real.csv", "annotations-split-def.csv")
DEEPFAKE_EVAL = ("video-metadata-publish-with-links.csv", "video-metadata-publish.csv")
MEGA_MMDF = ("train.json", "val.json", "test.json")
ATTRIBUTES = "attributes.json"
_MAVOS_COLUMNS = ("video_path", "label", "split", "generative_method", "open_set_model", "open_set_language")
_MAVOS_MORE = ("audio_fake", "video_fake", "audio_generative_method")
_LABELS_IN_PATH = re.compile(r"(?<![A-Za-z])([RF])A([RF])V(?![A-Za-z])")


def deepspeak(files: Files) -> Iterator[Entry]:
    """DeepSpeak v2: annotations-fake.csv, annotations-real.csv and annotations-split-def.csv in the root, videos below.

    Reads video-file, engine, identity-source, identity-target, recording-target and audio-config of fakes, video-file
    and identity of real clips, and the split of an identity. All fakes have fake video; the audio is fake unless
    audio-config is "real". Where the file name says otherwise (hellomeme-...-elevenlabs.mp4 with "real"), the audio is
    not known: FAKE. A fake of identities of two splits has none.

    Sources: https://huggingface.co/datasets/faridlab/deepspeak_v2; the table of fakes in github.com/hfaridlab/deepspeak
    (experiments/video_experiments/LipFD/annotations-v2.csv). The other tables' columns are known only from code that
    reads them.
    """
    root = files.root
    fakes, reals, splits = (root / name for name in DEEPSPEAK)
    by_name = _by_name(files)
    split_of = {row["identity"]: row["split"] for _, row in read_rows(splits, ("identity", "split"))}

    def names(persons: tuple[str, ...], source: str) -> tuple[str, ...]:
        stated = dict.fromkeys(f"deepspeak:{person}" for person in persons if person)
        return tuple(stated) or (own_identity("deepspeak", source),)

    listed = []
    for place, row in read_rows(reals, ("video-file", "identity")):
        source = _find(by_name, _text(row["video-file"], place, "video-file"))
        split = split_of.get(row["identity"], UNKNOWN)
        persons = names((row["identity"],), source)
        listed.append(make_entry(root, source, RVRA, identities=persons, method="real", split=split))
    columns = ("video-file", "engine", "identity-source", "identity-target", "recording-target", "audio-config")
    for place, row in read_rows(fakes, columns):
        source, voice = _find(by_name, _text(row["video-file"], place, "video-file")), row["audio-config"]
        named = PurePosixPath(row["video-file"]).stem.rpartition("-")[2]
        contradicted = not named.isdigit() and named != voice
        persons = (row["identity-target"], row["identity-source"])
        original = f"{row['identity-target']}-{row['recording-target']}.mp4"
        listed.append(
            make_entry(
                root,
                source,
                tier_of(1, None if contradicted or not voice else int(voice != "real"), 1),
                identities=names(persons, source),
                base=by_name.get(original, source),
                method=row["engine"] if voice == "real" or not voice else f"{row['engine']}+{voice}",
                split=only_split(split_of.get(person, UNKNOWN) for person in persons if person),
            )
        )
    yield from reconcile(files, listed, "annotations-*.csv")


def deepfake_eval(files: Files) -> Iterator[Entry]:
    """Deepfake-Eval-2024, videos: video-metadata-publish-with-links.csv (or without links) beside video-data/.

    Reads Filename, Video Ground Truth and Audio Ground Truth (Real, Fake, Unknown) and Finetuning Set (train, test).
    A fake with an unknown modality is FAKE; a video of which no modality is known to be fake, and not both to be real,
    is listed as unusable. Methods and identities are not stated: every video is an identity of its own, although one
    person is in many.

    Sources: https://huggingface.co/datasets/nuriachandra/Deepfake-Eval-2024 (Chandra et al., 2025); the table in
    github.com/esha-shaik/deepfake-detection.
    """
    root = files.root
    table = next((root / name for name in DEEPFAKE_EVAL if (root / name).is_file()), None)
    if table is None:
        raise UserError(f"{root}: no {' or '.join(DEEPFAKE_EVAL)} there, as Deepfake-Eval-2024 has them")
    by_name = _by_name(files)
    listed = []
    for place, row in read_rows(table, ("Filename", "Video Ground Truth", "Audio Ground Truth", "Finetuning Set")):
        source = _find(by_name, _text(row["Filename"], place, "Filename"))
        video, audio = (_label(row[f"{what} Ground Truth"], place) for what in ("Video", "Audio"))
        tier = tier_of(video, audio)
        listed.append(
            make_entry(
                root,
                source,
                tier,
                identities=(f"deepfake-eval:{PurePosixPath(source).stem}",),
                method="real" if tier is RVRA else UNKNOWN,
                split=row["Finetuning Set"] or UNKNOWN,
                problem="" if tier else NOT_KNOWN,
            )
        )
    yield from reconcile(files, listed, table.name)


def mavos_dd(files: Files) -> Iterator[Entry]:
    """MAVOS-DD, as its page distributes it: data-*.arrow in the root beside the videos.

    Reads video_path (relative to the root), label (real, fake), split, generative_method, open_set_model,
    open_set_language and, where they are, audio_fake, video_fake and audio_generative_method; without them the modality
    of a fake is not known: FAKE. generative_method is that of the video and "real" where only the audio is fake. The
    test split is divided into test, test-open-model, test-open-language and test-open-set. Identities are not stated:
    every video is one of its own.

    Sources: https://huggingface.co/datasets/unibuc-cs/MAVOS-DD (Croitoru et al., 2025); its loaders in
    github.com/CroitoruAlin/MAVOS-DD and github.com/DragosUnguru/MAVOS-DD-GenClassifier.
    """
    root, tables = files.root, mavos_tables(files.root)
    if not tables:
        raise UserError(f"{root}: no data-*.arrow there, as MAVOS-DD has them")
    listed = []
    for place, row in (pair for table in tables for pair in read_rows(table, _MAVOS_COLUMNS, _MAVOS_MORE)):
        source = files.find(_text(row["video_path"], place, "video_path"))
        label, video, audio = (_label(row.get(name), place) for name in ("label", "video_fake", "audio_fake"))
        try:
            tier = tier_of(video, audio, label)
        except ValueError as error:
            raise UserError(f"{place}: {error}") from None
        methods = [row["generative_method"], row.get("audio_generative_method")]
        named = dict.fromkeys(str(method) for method in methods if method and method != "real")
        kind = {(True, False): "-open-model", (False, True): "-open-language", (True, True): "-open-set"}
        model, language = (_label(row[name], place) == 1 for name in ("open_set_model", "open_set_language"))
        opened = kind.get((model, language), "")
        listed.append(
            make_entry(
                root,
                source,
                tier,
                identities=(own_identity("mavos-dd", source),),
                method="real" if tier is RVRA else "+".join(named) or UNKNOWN,
                split=f"{row['split']}{opened if row['split'] == 'test' else ''}" if row["split"] else UNKNOWN,
                problem="" if tier else NOT_KNOWN,
            )
        )
    yield from reconcile(files, listed, "data-*.arrow")


def mega_mmdf(files: Files) -> Iterator[Entry]:
    """Mega-MMDF: train.json, val.json and test.json (lists of paths) and attributes.json (facts by path) in the root.

    The path states the labels, RARV, RAFV, FARV or FAFV (audio, then video). Reads partial_fake_segments (a start and
    an end in seconds) of attributes.json. Methods and identities are not read, because the documents do not say how
    they are written: every video is an identity of its own.

    Source: github.com/SCLBD/DeepfakeBench-MM, preprocess/megammdf_preprocessor.py (Zhao et al., 2025). That the
    segments are in seconds is the benchmark's reading of them beside those of LAV-DF.
    """
    root = files.root
    attributes = read_json(root / ATTRIBUTES)
    if not isinstance(attributes, dict):
        raise UserError(f"{root / ATTRIBUTES}: expected an object of facts by path")
    listed = []
    for table in (root / name for name in MEGA_MMDF if (root / name).is_file()):
        paths = read_json(table)
        if not isinstance(paths, list):
            raise UserError(f"{table}: expected a list of paths")
        for number, path in enumerate(paths):
            name = tidy(_text(path, f"{table}: entry {number}", "path"))
            source = files.find(name.removeprefix("Mega-MMDF/"))
            stated = _LABELS_IN_PATH.search(name)
            tier = tier_of(int(stated[2] == "F"), int(stated[1] == "F")) if stated else None
            facts = attributes.get(name)
            segment = facts.get("partial_fake_segments") if isinstance(facts, dict) else None
            periods = periods_of({"segments": [segment] if segment else []}, tier, "segments") if tier else {}
            entry = make_entry(
                root,
                source,
                tier,
                identities=(own_identity("mega-mmdf", source),),
                method="real" if tier is RVRA else UNKNOWN,
                split=table.stem,
                **({"problem": "its path has none of RARV, RAFV, FARV, FAFV"} if tier is None else periods),
            )
            listed.append(entry)
    yield from reconcile(files, listed, "train.json, val.json or test.json")


def is_deepspeak(root: Path) -> bool:
    """Return True if a root has the tables of DeepSpeak."""
    return all((root / name).is_file() for name in DEEPSPEAK)


def is_deepfake_eval(root: Path) -> bool:
    """Return True if a root has the table of Deepfake-Eval-2024's videos."""
    return any((root / name).is_file() for name in DEEPFAKE_EVAL)


def mavos_tables(root: Path) -> list[Path]:
    """Return the tables of MAVOS-DD in a root."""
    return sorted(root.glob("data-*.arrow"))


def is_mega_mmdf(root: Path) -> bool:
    """Return True if a root has the tables of Mega-MMDF."""
    return (root / ATTRIBUTES).is_file() and any((root / name).is_file() for name in MEGA_MMDF)


def _by_name(files: Files) -> dict[str, str]:
    """Return the media files below a root by their tidy names; of several with one name, the first."""
    return {PurePosixPath(tidy(source)).name: source for source in sorted(files.present, reverse=True)}


def _find(by_name: dict[str, str], name: str) -> str:
    """Return the file with the name that a table states, or the stated name if there is none."""
    return by_name.get(tidy(name), tidy(name))


def _label(cell: Any, place: str) -> int | None:
    try:
        return read_label(cell)
    except ValueError as error:
        raise UserError(f"{place}: label {error}") from None


def _text(cell: Any, place: str, name: str) -> str:
    if not isinstance(cell, str) or not cell:
        raise UserError(f"{place}: {name} {str(cell)[:80]!r} is not the name of a file")
    return cell
