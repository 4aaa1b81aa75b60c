"""Writes the clip lists of a named protocol: training, validation and test clips.

    python data/preprocessing/make_splits.py avdfd_7_3 --elements data/elements --out data/splits/avdfd_7_3
    python data/preprocessing/make_splits.py mrdf_5fold --manifest m.parquet --duplicates m.parquet.duplicates.csv \
        --out data/splits/mrdf_5fold

The clips are those of an element store, of a folder or list in VFD's format, or the usable clips of a manifest, some of
which may turn out to have no face. `--duplicates`, from `make_manifest.py --duplicates`, keeps near-duplicates in one
split.

avdfd_7_3             70 % of the identities for training; half of the others for validation, half for the test
avdfd_70              the same with 70 of 500 identities held out
avff_70_30            30 % for the test; validation is taken from the other 70 %
mrdf_5fold            fold_1.csv to fold_5.csv for `baseline.py --folds`: one clip of each identity and category
leave_one_method_out  without_RVFA.csv, without_FVRA-WL.csv ...: one method is in the test only
real_only             only real clips for training
vfd                   as avdfd_7_3, but no less than voice-face matching needs: two real identities each for training
                      and validation; beside a data set with fakes, VoxCeleb2's are not tested
openavff              the splits of its lists, video_name,target, given by --csv
page_disjoint         fold_1.csv to fold_5.csv for `pretrain.py --folds`: other pages, methods, identities in the test

`--families` names the table of page_disjoint, which vocoder and converter each method speaks through; methods that it
does not know are printed, and each of them is its own family.

`--train FILE` and `--held FILE` set the identities of the first two protocols, one per line, as published. `--lists
FOLDER` sets those of mrdf_5fold: its authors' train_1.txt to train_5.txt.
"""

import gc
import sys
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.baselines.mrdf_folds import TrainingList, read_training_lists
from avdfd.baselines.open_store import open_vfd
from avdfd.baselines.vfd_folder import is_voxceleb_clip
from avdfd.core.arguments import Parser
from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable
from avdfd.core.text import read_names
from avdfd.corpora.duplicates import read_groups
from avdfd.corpora.manifest import read_clips
from avdfd.corpora.video_list import as_splits, read_sources
from avdfd.elements import ElementStore
from avdfd.splits.draw import METHODS, balanced_folds, fractions, method_of, real_only, without
from avdfd.splits.families import Families, read_families
from avdfd.splits.files import UNKNOWN_METHODS, SplitList, save
from avdfd.splits.lists import OPENAVFF
from avdfd.splits.page_disjoint import fake_methods, page_folds
from avdfd.splits.vocoded import add_vocoded, apart

FAMILIES = Path(__file__).resolve().parents[1] / "splits" / "families.csv"
SHARES = {
    "avdfd_7_3": {"train": 0.7, "validation": 0.15, "test": 0.15},
    "avdfd_70": {"train": 0.86, "validation": 0.07, "test": 0.07},
    "avff_70_30": {"train": 0.63, "validation": 0.07, "test": 0.3},
    "real_only": {"train": 0.7, "validation": 0.15, "test": 0.15},
    "leave_one_method_out": {"train": 0.7, "validation": 0.1, "test": 0.2},
    "vfd": {"train": 0.7, "validation": 0.15, "test": 0.15},
}
MATCHED = {"train": 2, "validation": 2, "test": 1}
"""Least number of identities with real clips that voice-face matching contrasts."""


def main(argv: list[str]) -> None:
    cli = Parser(description="Writes the lists of a protocol.")
    cli.add_argument("protocol", choices=[*SHARES, "mrdf_5fold", "page_disjoint", OPENAVFF])
    cli.add_argument("--elements", type=Path, help="element store, or VFD folder, whose clips are split")
    cli.add_argument("--manifest", type=Path, help="manifest whose clips are split")
    cli.add_argument("--duplicates", type=Path, help="near-duplicates among the clips: MANIFEST.duplicates.csv")
    cli.add_argument("--out", type=Path, required=True, help="folder for the lists")
    cli.add_argument("--train", type=Path, help="identities for training, one per line")
    cli.add_argument("--held", type=Path, help="identities for validation and test, one per line")
    cli.add_argument("--lists", type=Path, help="mrdf_5fold: folder with its authors' train_1.txt to train_5.txt")
    cli.add_argument(
        "--families", type=Path, help="page_disjoint: table of vocoders (default: data/splits/families.csv)"
    )
    cli.add_argument(
        "--csv", type=Path, nargs="+", metavar="FILE", help="openavff: lists for training, validation and, if any, test"
    )
    cli.add_argument("--videos", help="openavff: root of the videos, for absolute paths in the lists")
    cli.add_argument(
        "--only-own",
        action="store_true",
        help="page_disjoint: train on resynthesise.py's fakes only",
    )
    cli.add_argument("--train-vocoded", action="store_true", help="also list vocoded real clips (RVRA-V) for training")
    cli.add_argument("--seed", type=int, default=0)
    args = cli.parse_args(argv)
    if args.seed < 0:
        raise UserError("--seed takes a whole number of 0 or more")
    if (args.elements is None) == (args.manifest is None):
        raise UserError("name the clips by one of --elements STORE and --manifest FILE.parquet")
    if (args.train or args.held) and not args.protocol.startswith("avdfd"):
        raise UserError(f"--train and --held are for avdfd_7_3 and avdfd_70; {args.protocol} draws its identities")
    if args.lists and args.protocol != "mrdf_5fold":
        raise UserError(f"--lists is for mrdf_5fold, not for {args.protocol}")
    if args.csv and args.protocol != OPENAVFF:
        raise UserError(f"--csv is for {OPENAVFF}, not for {args.protocol}")
    if args.protocol == OPENAVFF and len(args.csv or ()) not in (2, 3):
        raise UserError(f"{OPENAVFF} takes --csv TRAIN.csv VALIDATION.csv, or also TEST.csv")
    if args.only_own and args.protocol != "page_disjoint":
        raise UserError(f"--only-own is for page_disjoint, not for {args.protocol}")
    if args.families and args.protocol != "page_disjoint":
        raise UserError(f"--families is for page_disjoint, not for {args.protocol}")

    by_page = args.protocol == "page_disjoint"
    path = args.families or FAMILIES
    table = read_families(path) if by_page else None
    given = given_identities(args.train, args.held)
    trained_on = read_training_lists(args.lists) if args.lists else {}
    clips, others, unusable = load(args.elements, args.manifest)
    groups = duplicates_of(args.duplicates, clips, others) if args.duplicates else []
    drawn, vocoded = apart(clips)
    if args.protocol == OPENAVFF:
        lists = {OPENAVFF: as_splits([read_sources([path], args.videos) for path in args.csv], clips)}
    else:
        lists = make(
            args.protocol, drawn, args.seed, given, groups, trained_on=trained_on, table=table, only_own=args.only_own
        )
        for made in lists.values():
            add_vocoded(made, vocoded, train=args.train_vocoded)
    for made in lists.values():
        made.listed += unusable
        made.left_out["files that are no clips"] += len(unusable)
    ensure_writable(args.out)
    inputs = [path for path in (args.manifest, args.duplicates, args.train, args.held) if path]
    inputs += args.csv or []
    inputs += [args.lists / f"train_{number}.txt" for number in trained_on]
    inputs += [path] if by_page else []
    unknown = table.unknown(fake_methods(drawn)) if table else []
    facts = {UNKNOWN_METHODS: unknown} if by_page else {}
    for number, one in trained_on.items():
        if one.skipped:
            print(f"train_{number}.txt: the first line, '{one.skipped}', counts as a header, as in the released code")
    for line in save(args.out, args.protocol, args.seed, lists, clips, inputs, **facts):
        print(line)
    if unknown:
        print(f"methods that {path} does not know, each a family of its own: {', '.join(unknown)}")


def load(
    elements: Path | None, manifest: Path | None
) -> tuple[Sequence[ClipMeta], Set[str] | None, Sequence[tuple[str, str]]]:
    """Return the clips to be split, the other files of the data set or None if they are unknown, and the unusable ones.

    Unusable files of a VFD folder have a reason; those of other data sets are in a manifest or a quarantine.csv.
    """
    if manifest is None:
        assert elements is not None
        published = open_vfd(elements)
        if published is not None:
            return published.metas, None, published.left_out
        return ElementStore(elements, whole=None).metas, None, ()
    clips, others = read_clips(manifest)
    if not clips:
        raise UserError(f"{manifest}: none of its {len(others)} files can be used; its rows have the reasons")
    return clips, set(others), ()


def duplicates_of(path: Path, clips: Sequence[ClipMeta], others: Set[str] | None) -> list[list[str]]:
    """Return groups of near-duplicates with several identities; those with one identity are in one split anyway.

    Raises UserError if the file does not belong to these clips.
    """
    groups = read_groups(path)
    identity_of = {clip.source: clip.identities[:1] for clip in clips}
    named = {source for group in groups for source in group}
    unknown = named.difference(identity_of, others or ())
    # Some files have no elements, but if none has, the list belongs to other clips.
    if unknown and (others is not None or unknown == named):
        raise UserError(
            f"{path}: names {len(unknown)} files that are not among these clips, e.g. '{min(unknown)}'; "
            "take the file that make_manifest.py --duplicates wrote with their manifest"
        )
    groups = [[source for source in group if source in identity_of] for group in groups]
    return [group for group in groups if len({identity_of[source] for source in group}) > 1]


def make(
    protocol: str,
    clips: Sequence[ClipMeta],
    seed: int,
    given: Mapping[str, str],
    duplicates: Sequence[Sequence[str]] = (),
    *,
    trained_on: Mapping[int, TrainingList] = MappingProxyType({}),
    table: Families | None = None,
    only_own: bool = False,
) -> dict[str, SplitList]:
    """Return the lists of a protocol, by name."""
    if protocol == "mrdf_5fold":
        given_folds = [one.identities for one in trained_on.values()]
        folds = balanced_folds(clips, 5, 0.125, seed, duplicates=duplicates, trained_on=given_folds)
        return {f"fold_{number}": fold for number, fold in zip(trained_on or range(1, 6), folds, strict=True)}
    if protocol == "page_disjoint":
        folds = page_folds(clips, 5, 0.15, table=table, only_own=only_own)
        return {f"fold_{number}": fold for number, fold in enumerate(folds, start=1)}
    draw = partial(fractions, clips, SHARES[protocol], seed, duplicates=duplicates)
    if protocol == "leave_one_method_out":
        present = {method_of(clip) for clip in clips}
        names = [name for name in METHODS if name in present]
        if not names:
            raise UserError(f"no clips of any of {', '.join(METHODS)}: this protocol needs FakeAVCeleb's methods")
        return {f"without_{name}": draw(keep=without(name), kind=method_of) for name in names}
    if protocol == "real_only":
        return {protocol: draw(keep=real_only)}
    if protocol == "vfd":
        return {protocol: draw(given=dict.fromkeys(untested(clips), "untested"), least=MATCHED)}
    return {protocol: draw(given=given)}


def untested(clips: Sequence[ClipMeta]) -> set[str]:
    """Return the identities of VoxCeleb2's clips in a VFD folder that has fakes, too: they are for matching alone."""
    if all(clip.label == 0 for clip in clips):
        return set()
    return {identity for clip in clips if is_voxceleb_clip(clip.source) for identity in clip.identities}


def given_identities(train: Path | None, held: Path | None) -> dict[str, str]:
    """Return identity -> "train" or "held", from lists of identities."""
    split_of: dict[str, str] = {}
    for path, place in ((train, "train"), (held, "held")):
        if path is None:
            continue
        if not path.is_file():
            raise UserError(f"{path}: no such list of identities")
        for identity in read_names(path):
            if split_of.setdefault(identity, place) != place:
                raise UserError(f"{path}: identity '{identity}' is in the other list too; keep it in one")
    return split_of


if __name__ == "__main__":
    gc.disable()  # a million clips would be searched for garbage, which takes longer than the work
    run_script(main)
