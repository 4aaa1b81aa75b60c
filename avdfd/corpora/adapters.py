"""Adapters of data sets whose clips are described by folders, file names and CSV tables.

An adapter takes the files below the root of a data set and yields an Entry for every video file, and one for every file
that the tables list but that is missing. Unknown facts are "unknown" and never guessed: a fake whose manipulated
modality is unknown has the tier FAKE.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from avdfd.core.clips import IDENTITY, UNKNOWN, Entry, Files, make_entry, missing, reconcile
from avdfd.core.tiers import FAKE, FVRA, RVRA, TIERS, Tier
from avdfd.core.tree import tidy
from avdfd.corpora.fakeavceleb import TABLE, row_path
from avdfd.corpora.tables import read_own, read_table

OWN_TABLE = "clips.csv"
_ACTOR = r"([0-9a-f]{20}|\d{6})"
_KODF_REAL = re.compile(rf"{_ACTOR}_\d+", re.IGNORECASE)
_KODF_FAKE = re.compile(rf"{_ACTOR}_{_ACTOR}_([1-5])_\d+", re.IGNORECASE)
_KODF_METHODS = {"1": "dfl", "2": "dffs", "3": "fsgan", "4": "fo", "5": "audio-driven"}


def fakeavceleb(files: Files) -> Iterator[Entry]:
    """FakeAVCeleb: `<tier folder>/<race>/<gender>/<identity>/<clip>`, and meta_data.csv where there is one.

    Reads source, target1, target2, method, type, path (the file's name) and the folder in the unnamed last column of
    the table. The identities of a clip are all those in its folder, name and rows; a target may be a number instead. A
    path listed twice has the method of its first row: 22 were made by faceswap-wav2lip, then wav2lip. A row whose type
    is no tier folder, or not that of its path, is an entry with this problem. There is no official split.

    Sources: github.com/DASH-Lab/FakeAVCeleb (Khalid et al., NeurIPS 2021), README for the folders; the table's columns
    and its repeated rows as in github.com/SCLBD/DeepfakeBench-MM, preprocess/fakeavceleb_preprocessor.py.
    """
    root = files.root
    rows: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in read_table(root / TABLE, ("method", "type", "path"), key="path"):
        rows.setdefault((row["type"], row.get("source", ""), PurePosixPath(tidy(row["path"])).name), []).append(row)
    originals = {_identity_and_number(source): source for source in files.below(RVRA.folder)}

    def entry(tier: Tier, source: str, listed: list[dict[str, str]]) -> Entry:
        path = PurePosixPath(source)
        places = path.parent.relative_to(tier.folder).parts
        race, gender, identity = places[:3] if len(places) >= 3 else (UNKNOWN, UNKNOWN, path.parent.name)
        texts = (*places, path.stem, *(row.get(key, "") for row in listed for key in ("target1", "target2")))
        others = [found for text in texts for found in IDENTITY.findall(text)]
        method = next((row["method"] for row in listed if row["method"]), "")
        made = make_entry(
            root,
            source,
            tier,
            identities=tuple(dict.fromkeys([identity, *others])),
            base=originals.get(_identity_and_number(source), source),
            method=method or (RVRA.name if tier is RVRA else UNKNOWN),
            race=race,
            gender=gender,
        )
        return replace(made, repeated=max(0, len(listed) - 1))

    by_folder = {tier.folder: tier for tier in TIERS.values() if tier is not FAKE}
    for folder, tier in by_folder.items():
        for source in files.below(folder):
            path = PurePosixPath(source)
            yield entry(tier, source, rows.pop((folder, tidy(path.parent.name), tidy(path.name)), []))
    for (folder, _, _), listed in rows.items():
        source = row_path(listed[0])
        if folder in by_folder and source.startswith(f"{folder}/"):
            yield missing(entry(by_folder[folder], source, listed), TABLE)
        else:
            problem = f"its row in {TABLE} has the type '{folder}', which is not the tier folder of its path"
            yield replace(make_entry(root, source, None, problem=problem), repeated=len(listed) - 1)


def voxceleb2(files: Files) -> Iterator[Entry]:
    """VoxCeleb2: `.../<identity, id00012>/<YouTube video>/<clip, 00001.mp4>`, all real.

    Reads the gender from vox2_meta.csv (VoxCeleb2 ID, Gender: m or f, Set: dev or test) if the root has it, and the
    split from Set or else from a folder dev or test.

    Sources: https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html (Chung et al., Interspeech 2018); a copy of the
    table in github.com/kaneelgit/msi_voxceleb.
    """
    root = files.root
    rows = read_table(root / "vox2_meta.csv", ("VoxCeleb2 ID", "Gender"))
    genders = {row["VoxCeleb2 ID"]: _gender(row["Gender"]) for row in rows}
    sets = {row["VoxCeleb2 ID"]: row.get("Set", "") for row in rows}
    for source in files.present:
        path = PurePosixPath(source)
        identity = path.parent.parent.name
        if IDENTITY.fullmatch(identity) and path.stem.isdigit():
            gender = genders.get(identity, UNKNOWN)
            split = sets.get(identity) or next((part for part in path.parts if part in ("dev", "test")), UNKNOWN)
            yield make_entry(root, source, RVRA, identities=(identity,), method="real", gender=gender, split=split)
        else:
            yield make_entry(root, source, None, problem="not named as in VoxCeleb2: <identity>/<video>/<number>")


def kodf(files: Files) -> Iterator[Entry]:
    """KoDF: videos anywhere below the root, identified by their file name, with AI-Hub's tables or without tables.

    Reads the tables 원본영상_*메타데이터*.csv (originals: 영상ID file, UUID identity, 인물성별 gender) and
    변조영상_*메타데이터*.csv (fakes: 영상ID, 타겟영상 original, 타겟UUID and 소스UUID identities, 변조모델 method,
    인물성별). Face swaps (dffs, dfl, fsgan) keep the audio of their original: FVRA. For the others (fo, audio-driven)
    the tables do not describe the audio: FAKE. AI-Hub has a training and a validation split; its test has no table.

    Of the release outside Korea, which has no tables, the names are read: <actor>_<number>.mp4 is real, and
    <target>_<source>_<method, 1 to 5>_<number>.mp4 is a fake, whose original is not known.

    Sources: https://aihub.or.kr/aidata/8005 and github.com/deepbrainai-research/kodf (Kwon et al., ICCV 2021), which
    describe no files; tables as listed after a download by a public reader of them (columns, methods, UTF-8), names as
    in github.com/dfwb-research/deepfake-workbench (builders/kodf.py).
    """
    root, tables = files.root, kodf_tables(files)
    if not tables:
        yield from _kodf_by_name(files)
        return
    by_name: dict[str, list[str]] = {}
    for source in sorted(files.present):
        by_name.setdefault(PurePosixPath(tidy(source)).name, []).append(source)
    listed = []
    for table in tables:
        fake = "변조영상" in tidy(table.name)
        columns = ("영상ID", "타겟영상", "타겟UUID", "소스UUID", "변조모델") if fake else ("영상ID", "UUID")
        for row in read_table(table, columns, key="영상ID"):
            name, original = tidy(row["영상ID"]), tidy(row["타겟영상"]) if fake else ""
            method = row["변조모델"] if fake else "real"
            identities = (row["타겟UUID"], row["소스UUID"]) if fake else (row["UUID"],)
            listed += [
                make_entry(
                    root,
                    source,
                    _kodf_tier(method) if fake else RVRA,
                    identities=tuple(dict.fromkeys(identity for identity in identities if identity)),
                    base=by_name.get(original, [original])[0] if fake else source,
                    method=method,
                    gender=_gender(row.get("인물성별", "")),
                    split="validation" if "validation" in table.name else "training",
                )
                for source in by_name.get(name, [name])
            ]
    yield from reconcile(files, listed, "KoDF's tables")


def kodf_tables(files: Files) -> list[Path]:
    """Return the tables of KoDF below a root."""
    tables = []
    for source in sorted(source for source, reason in files.all.items() if not reason and source.endswith(".csv")):
        name = PurePosixPath(tidy(source)).name
        if not name.startswith(".") and "메타데이터" in name and ("원본영상" in name or "변조영상" in name):
            tables.append(files.root / source)
    return tables


def is_kodf(files: Files) -> bool:
    """Return True if a root has tables of KoDF, or a fake named as in KoDF in a folder of its method."""
    named = (PurePosixPath(source) for source in files.present)
    return bool(kodf_tables(files)) or any(
        (found := _KODF_FAKE.fullmatch(path.stem)) and _KODF_METHODS[found[3]] in path.parts for path in named
    )


def _kodf_by_name(files: Files) -> Iterator[Entry]:
    for source in files.present:
        stem = PurePosixPath(source).stem
        if found := _KODF_FAKE.fullmatch(stem):
            method = _KODF_METHODS[found[3]]
            persons = tuple(dict.fromkeys(found.group(1, 2)))
            yield make_entry(files.root, source, _kodf_tier(method), identities=persons, method=method)
        elif found := _KODF_REAL.fullmatch(stem):
            yield make_entry(files.root, source, RVRA, identities=(found[1],), method="real")
        else:
            problem = "not named as in KoDF, and there is no 원본영상_*메타데이터*.csv or 변조영상_*메타데이터*.csv"
            yield make_entry(files.root, source, None, problem=problem)


def _kodf_tier(method: str) -> Tier:
    return FVRA if method.lower() in ("dffs", "dfl", "fsgan") else FAKE


def plain(files: Files) -> Iterator[Entry]:
    """Folders real/ and fake/, and manifest.csv (file, identity, fake_method) if there is one.

    Without a row, the identity is the file name up to the first `__`.
    """
    columns = ("file", "identity", "fake_method")
    tiers = {"real": RVRA, FAKE.folder: FAKE}
    root = files.root
    rows = [(files.find(row["file"]), row) for row in read_table(root / "manifest.csv", columns, key="file")]
    unlisted = files.present - {source for source, _ in rows}
    for source, row in [*rows, *((source, {}) for source in sorted(unlisted))]:
        tier = tiers.get(PurePosixPath(source).parts[0])
        entry = make_entry(
            root,
            source,
            tier,
            identities=(row.get("identity") or PurePosixPath(source).stem.split("__")[0],),
            method=row.get("fake_method") or ("real" if tier is RVRA else UNKNOWN),
            problem="" if tier else "neither in real/ nor in fake/",
        )
        yield entry if source in files.present else missing(entry, "manifest.csv")


def own_table(files: Files) -> Iterator[Entry]:
    """Videos anywhere below the root, with your own table clips.csv. Its columns:

    file (relative to the root); label (real, fake, 0 or 1) or tier (name of a tier), where the label real means RVRA
    and fake means FAKE; and optionally identity (several are separated by `;`; default: the file name up to the first
    `__`), base (file of the source clip), method, race, gender, page (where it was published), split.
    """
    root = files.root
    listed = []
    for row in read_own(root / OWN_TABLE):
        source = files.find(row.source)
        facts = {
            "identities": (PurePosixPath(source).stem.split("__")[0],),
            "method": "real" if row.tier is RVRA else UNKNOWN,
            **row.facts,
        }
        base = files.find(facts.pop("base", "") or source)
        listed.append(make_entry(root, source, row.tier, base=base, **facts))
    yield from reconcile(files, listed, OWN_TABLE)


def _identity_and_number(source: str) -> tuple[str, str]:
    """Return the identity folder and the leading clip number, which a clip shares with the fakes made from it."""
    path = PurePosixPath(source)
    number = re.match(r"\d+", path.stem)
    return path.parent.name, number.group() if number else path.stem


def _gender(text: str) -> str:
    """Return the gender in FakeAVCeleb's words."""
    return {"m": "men", "남": "men", "f": "women", "여": "women"}.get(tidy(text).lower()[:1], UNKNOWN)
