"""Adapters of data sets of 2023 to 2026 that folders and file names describe. See `avdfd.corpora.adapters`.

Written from the published documents that each adapter names; none has been tried on the data set itself.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avdfd.core.clips import IDENTITY, UNKNOWN, Entry, Files, is_audio, make_entry, missing
from avdfd.core.errors import UserError
from avdfd.core.text import read_cells, read_json, read_text
from avdfd.core.tiers import FAKE, FVFA, FVRA, RVFA, RVRA, Tier
from avdfd.core.tree import tidy
from avdfd.corpora.labels import only_split, own_identity

_IDFORGE: dict[str, Tier] = {
    "pristine": RVRA,
    **dict.fromkeys(("rvc_textmismatch", "tts_textgen", "tts_textmismatch"), RVFA),
    **dict.fromkeys(("face_audiomismatch_textmismatch", "lip_audiomismatch_textmismatch"), FVRA),
    **dict.fromkeys(("face_rvc_textmismatch", "face_tts", "face_tts_textgen"), FVFA),
    **dict.fromkeys(("lip_rvc_textmismatch", "lip_tts_textgen"), FVFA),
}
_IDFORGE_SPLITS = ("train", "val", "test")
_POLYGLOT = re.compile(r"(?P<original>[a-z]{2}_\d+)(?:_to_[a-z]{2}(?:_(?P<method>.+))?)?")
_POLYGLOT_TABLE = "all_fake_video.json"
_DIGIFAKE = re.compile(r"(?:\A|_)(FVFA|FVRA|real)(?:_|\Z)", re.IGNORECASE)
_DIGIFAKE_METHOD = re.compile(r"echomimic|hallo2|hallo|sonic|v-?express", re.IGNORECASE)
_THB_SPLITS = ("train", "val", "test")
_THB_MORE = "additional_dataset"
_THB_LISTS = "[!.]*_dataset_split_*.json"


def avlips(files: Files) -> Iterator[Entry]:
    """AVLips: 0_real/<number>.mp4 and 1_fake/<number>.mp4.

    Fakes are lip-synced to real speech: FVRA. wav/ has the audio of the same clips and is left out. Not stated:
    identities, the method of a fake, splits, and whether equal numbers belong together; every video is an identity of
    its own. The audio of fakes was denoised before synthesis, which a detector may take for the fake.

    Source: github.com/AaronComo/LipFD (Liu et al., NeurIPS 2024), README and preprocess.py.
    """
    for folder, tier in (("0_real", RVRA), ("1_fake", FVRA)):
        for source in files.below(folder):
            yield make_entry(
                files.root,
                source,
                tier,
                identities=(own_identity("avlips", source),),
                method="real" if tier is RVRA else UNKNOWN,
            )


def avid(files: Files) -> Iterator[Entry]:
    """AVID: videos below authentic/ and fakes/, whose tar shards were unpacked there.

    The folder gives the label; which modality of a fake is fake is not stated: FAKE. perturbed/ has the clips of the
    official split again, with noise and compression, and is left out. metadata.csv has a row per clip, but of its
    columns only `official_split` (True for the clips to evaluate on) is documented: to have subjects, methods and that
    split, map it with a columns.json, which goes before this layout. Until then every clip is an identity of its own,
    although 162 subjects have 34,809 clips.

    Source: https://huggingface.co/datasets/aviddataset/avid, the copy for review, for evaluation alone.
    """
    for folder, tier in (("authentic", RVRA), ("fakes", FAKE)):
        for source in files.below(folder):
            yield make_entry(
                files.root,
                source,
                tier,
                identities=(own_identity("avid", source),),
                method="real" if tier is RVRA else UNKNOWN,
            )


def polyglotfake(files: Files) -> Iterator[Entry]:
    """PolyGlotFake: <folder>/<language>/<es_1.mp4> and <folder>/to_<language>/<es_1_to_ru_Xtts.mp4>, anywhere below.

    All fakes have a cloned voice and synced lips: FVFA. Reads filename, tts_technique and sync_tech from
    all_fake_video.json, and filename and source (the page of the video) of originals from real_json_files/<es>.json, if
    they are below the root. The identity is the page, or without it the original video, so that a speaker of two counts
    as two. There is no official split.

    Sources: github.com/tobuta/PolyGlotFake (Hou et al., 2024) for methods and languages. Names of files and of the
    tables' keys are known only from code of others that reads them, such as github.com/dfwb-research/deepfake-workbench
    (builders/polyglotfake.py).
    """
    methods = {
        name: "+".join(str(row[key]) for key in ("tts_technique", "sync_tech") if row.get(key))
        for name, row in _polyglot_rows(files, PurePosixPath(_POLYGLOT_TABLE))
    }
    pages = {
        PurePosixPath(name).stem: str(row["source"])
        for name, row in _polyglot_rows(files, PurePosixPath("real_json_files/[a-z][a-z].json"))
        if "://" in str(row.get("source"))
    }
    stems = {PurePosixPath(tidy(source)).stem: source for source in sorted(files.present, reverse=True)}
    for source in files.present:
        path = PurePosixPath(tidy(source))
        named = _POLYGLOT.fullmatch(path.stem)
        if named is None:
            yield make_entry(files.root, source, None, problem="not named as in PolyGlotFake: es_1 or es_1_to_ru_Xtts")
            continue
        tier = FVFA if "_to_" in path.stem else RVRA
        yield make_entry(
            files.root,
            source,
            tier,
            identities=(f"polyglotfake:{pages.get(named['original'], named['original'])}",),
            base=stems.get(named["original"], source),
            method="real" if tier is RVRA else methods.get(path.name) or named["method"] or UNKNOWN,
        )


def idforge(files: Files) -> Iterator[Entry]:
    """IDForge v1: <kind of forgery>/<id53>/<id53_08>/<clip>.mp4, there or in main/, and real clips in ref/.

    The folder gives the tier: exchanged audio is real audio, of another person, so that its tier with synced lips is
    FVRA. The identity is the folder id53; the person whose body a swapped face was put on, and the one whose audio was
    exchanged, are not named. Reads train.csv, val.csv and test.csv beside the kinds (a path a line, no header), the
    official split; a clip in none, or in two, has none, and those in ref/ have "reference".

    Sources: github.com/xyyandxyy/IDForge (Xu et al., ACM MM 2024), README and IDForge_v1/val.csv; labels of the
    modalities as in github.com/SCLBD/DeepfakeBench-MM, preprocess/idforge_preprocessor.py.
    """
    prefix = "main/" if (files.root / "main" / "pristine").is_dir() else ""
    rows: dict[str, list[str]] = {}
    for split in _IDFORGE_SPLITS:
        table = files.root / f"{prefix}{split}.csv"
        for line, cells in read_cells(read_text(table, "CSV"), table) if table.is_file() else ():
            if not cells[0]:
                raise UserError(f"{table}: line {line}: names no file in its first cell; a line is a path")
            rows.setdefault(files.find(prefix + cells[0]), []).append(split)

    def entry(source: str, kind: str) -> Entry:
        persons = IDENTITY.findall(PurePosixPath(source).parent.as_posix())
        tier = RVRA if kind == "ref" else _IDFORGE.get(kind)
        swap = PurePosixPath(source).stem.rpartition("_")[2]
        return make_entry(
            files.root,
            source,
            tier,
            identities=(f"idforge:{persons[0]}" if persons else own_identity("idforge", source),),
            method="real" if tier is RVRA else f"{kind}:{swap}" if kind.startswith("face_") else kind,
            split="reference" if kind == "ref" else only_split(rows.get(source, [])),
            problem="" if tier else "in no folder of a kind of forgery of IDForge",
        )

    for source in files.present:
        kind = source.removeprefix(prefix).partition("/")[0]
        found = entry(source, kind)
        again = max(0, len(rows.pop(source, [])) - 1)
        yield found if not again else Entry(found.clip, found.split, found.problem, again)
    for source, splits in rows.items():
        absent = missing(entry(source, source.removeprefix(prefix).partition("/")[0]), "train.csv, val.csv or test.csv")
        yield Entry(absent.clip, only_split(splits), absent.problem, len(splits) - 1)


def digifakeav(files: Files) -> Iterator[Entry]:
    """DigiFakeAV: MP4 below folders whose names have real, FVRA or FVFA, such as FVRA_sonic_10001_20000.

    The first folder, or else the file name, with one of these words gives the tier, and the path the method (echomimic,
    hallo, hallo2, sonic, vexpress). The page distributes raw frames (.frames.npy) and .audio.wav: make MP4 of them as
    its README says first. Not stated: identities and splits; every video is an identity of its own, although names such
    as real_videos_66 recur in folders of fakes. Fakes were cut to 5 s and re-encoded at 512x512.

    Sources: github.com/DigiFakeAV/DigiFakeAV-v1, README and DigiShield/scripts/preprocess_dataset.py;
    https://huggingface.co/datasets/cambrain/DigiFakeAV.
    """
    tiers = {"real": RVRA, "fvra": FVRA, "fvfa": FVFA}
    for source in files.present:
        path = PurePosixPath(source)
        words = [found[1].lower() for part in (*path.parts[:-1], path.stem) if (found := _DIGIFAKE.search(part))]
        tier = tiers[words[0]] if words else None
        method = _DIGIFAKE_METHOD.search(source)
        problem = "" if tier else "no folder or name of it has real, FVRA or FVFA"
        if is_audio(source):
            problem = problem or "the audio of raw frames; make MP4 of both, as the README of DigiFakeAV says"
        yield make_entry(
            files.root,
            source,
            tier,
            identities=(own_identity("digifakeav", source),),
            method="real" if tier is RVRA else method[0].lower().replace("-", "") if method else UNKNOWN,
            problem=problem,
        )


def talkingheadbench(files: Files) -> Iterator[Entry]:
    """TalkingHeadBench: fake/<generator>/<train, val or test>/<image>--<driving>--<generator>.mp4, and real/ or true/.

    Fakes are driven by real clips, with their real audio where they have any: FVRA; those in fake/additional_dataset,
    of which this is not stated, are FAKE. The identities are the image (FFHQ) and the driving clip (CelebV-HQ), which
    Hallo3's names separate by one hyphen and MAGI-1's do not state. The real videos (FaceForensics++, CelebV-HQ) are
    not distributed: put those that real/real_dataset_split_*.json names into real/ or true/; a clip there is the
    identity of its name, and has the split of that list (Train, Val, Test; by data set, the names). A fake may be in
    another split than its driving clip. audio/ has audio of the same clips and is left out.

    Sources: https://huggingface.co/datasets/luchaoqi/TalkingHeadBench (2025); the form of the list and the names of
    Hallo3 and MAGI-1 as in github.com/dfwb-research/deepfake-workbench (builders/talkingheadbench.py).
    """
    splits = _thb_splits(files)
    for source in files.present:
        path = PurePosixPath(source)
        if path.parts[0] in ("real", "true"):
            split = splits.get(path.stem, UNKNOWN)
            yield make_entry(files.root, source, RVRA, identities=(f"thb:{path.stem}",), method="real", split=split)
        elif path.parts[0] == "fake" and len(path.parts) >= 4:
            more = path.parts[1] == _THB_MORE
            names = path.stem.split("--")[:2] if "--" in path.stem else path.stem.split("-", 1)
            yield make_entry(
                files.root,
                source,
                FAKE if more else FVRA,
                identities=tuple(f"thb:{name}" for name in names),
                method=path.parts[2 if more else 1],
                split="additional" if more else path.parts[2],
            )
        elif path.parts[0] != "audio":
            problem = "not placed as in TalkingHeadBench: fake/<generator>/<split>/<clip>, real/<clip>"
            yield make_entry(files.root, source, None, problem=problem)


def is_avlips(root: Path) -> bool:
    """Return True if a root has the folders of AVLips."""
    return (root / "0_real").is_dir() and (root / "1_fake").is_dir()


def is_avid(root: Path) -> bool:
    """Return True if a root has the folders of AVID."""
    return (root / "authentic").is_dir() and (root / "fakes").is_dir()


def is_polyglotfake(root: Path) -> bool:
    """Return True if a root has a folder of fakes by language, as PolyGlotFake."""
    return any(path.is_dir() for path in root.glob("*/to_[a-z][a-z]"))


def is_idforge(root: Path) -> bool:
    """Return True if a root has folders of two kinds of IDForge's clips."""
    return any(sum((root / place / kind).is_dir() for kind in _IDFORGE) > 1 for place in ("", "main"))


def is_digifakeav(root: Path) -> bool:
    """Return True if a root has folders of fakes as DigiFakeAV."""
    return any(path.is_dir() for name in ("FVRA*", "FVFA*") for path in root.glob(name))


def is_talkingheadbench(root: Path) -> bool:
    """Return True if a root has generators with splits in fake/ and clips named as in TalkingHeadBench."""
    clips = ((root / "fake").glob(f"*/{split}/*--*--*.*") for split in _THB_SPLITS)
    return any(any(found) for found in clips)


def _polyglot_rows(files: Files, pattern: PurePosixPath) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield tidy file names and rows of those of PolyGlotFake's tables whose path ends in a pattern."""
    for source in (source for source in files.all if PurePosixPath(source).match(str(pattern))):
        table = files.root / source
        content: Any = read_json(table)
        rows = content.get("videos", content.get("video")) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "filename" in row for row in rows):
            raise UserError(f"{table}: expected a list of objects with 'filename' in 'video' or 'videos'")
        yield from ((tidy(str(row["filename"])), row) for row in rows)


def _thb_splits(files: Files) -> dict[str, str]:
    """Return the split of every real video of TalkingHeadBench by its name, from the lists that are there."""
    splits: dict[str, str] = {}
    for source in (source for source in files.all if PurePosixPath(source).match(_THB_LISTS)):
        table = files.root / source
        content = read_json(table)
        if not isinstance(content, dict):
            raise UserError(f"{table}: expected Train, Val and Test")
        for split, corpora in content.items():
            lists = corpora.values() if isinstance(corpora, dict) else [None]
            for names in lists:
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise UserError(f"{table}: {split}: expected lists of file names by data set")
                splits |= {PurePosixPath(name).stem: str(split).lower() for name in names}
    return splits
