"""Makes fakes of real speech by signal processing, as training data of stage 1; or vocoded clips that stay real.

    python data/preprocessing/resynthesise.py --input=speech --output=speech-own        config/speech/resynthesise.json
    python data/preprocessing/resynthesise.py --input=speech --output=speech-vocoded --real=true                 RVRA-V

The new root has all clips of the old one (as hard links if possible), the fakes under own/, or real ones under
vocoded/, and clips.csv. It can be given to codec_parity.sh and preprocess.sh like any other root. A second run makes
what is missing. Clips that cannot be made are listed in problems.csv with their reasons, and what is no usable clip of
the old root in left_out.csv. Exit code 1 if there are too many of them.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.config import ResynthesisConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.clips import ClipMeta, Entry
from avdfd.core.errors import run_script
from avdfd.core.files import ensure_writable, locked, write_csv
from avdfd.core.journal import refuse_overlap
from avdfd.core.progress import Bar
from avdfd.core.tiers import RVRA
from avdfd.core.workers import Failure, count_or_cores, run_killable
from avdfd.corpora.adapters import OWN_TABLE
from avdfd.corpora.layouts import read_root
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, as_rows, left_out, summary
from avdfd.corpora.tables import own_lines
from avdfd.corpora.vocoding.clips import Task, clip_of, drawn, make, name_of


def main(argv: list[str]) -> int:
    cli = Parser(description="Makes fakes of real speech.")
    cli.add_argument("--config", default="config/speech/resynthesise.json")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, ResynthesisConfig, overrides=overrides)
    source_root, root = Path(cfg.input), Path(cfg.output)
    refuse_overlap(root, source_root)
    listed, others = read_root(source_root, audio=True)
    entries = [entry for entry in listed if not entry.problem]
    originals = real(entries, cfg.per_page)
    aside = left_out(listed, others)
    ensure_writable(root)
    with locked(root / ".lock", root):
        for entry in entries:
            link(entry.clip.path, root / entry.clip.source)
        problems = make_all(root, originals, cfg)
        write_lists(root, entries, originals, problems, cfg)
        write_csv(root / LEFT_OUT, [COLUMNS, *as_rows(aside)])
    if aside:
        print(f"{root / LEFT_OUT}: {summary(aside)}")
    count = len(originals) * len(cfg.ways)
    what = "vocoded real clips" if cfg.real else "fakes"
    print(f"{root}: {len(entries)} clips, {count - len(problems)} {what} made of {len(originals)} real ones")
    if len(problems) <= cfg.max_problems * count:
        return 0
    print(
        f"error: {len(problems)} of {count} {what} could not be made, more than max_problems = {cfg.max_problems:g}; "
        f"see {root / 'problems.csv'}",
        file=sys.stderr,
    )
    return 1


def real(entries: list[Entry], per_page: int | None) -> list[Entry]:
    """Return the clips that fakes are made of, at most so many of a page."""
    found = [entry for entry in entries if entry.clip.tier == RVRA.name]
    if per_page is None:
        return found
    sources = drawn((entry.clip for entry in found), per_page)
    return [entry for entry in found if entry.clip.source in sources]


def link(path: Path, out: Path) -> None:
    """Create a hard link, or a copy if the file is on another disk."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, out)
    except OSError:
        partial = out.with_name(f".{out.name}.partial")
        shutil.copyfile(path, partial)
        partial.replace(out)


def make_all(root: Path, originals: list[Entry], cfg: ResynthesisConfig) -> dict[str, str]:
    """Make the missing fakes in worker processes; return the reasons of those that could not be made."""
    tasks = [
        Task(entry.clip.path, root / name_of(entry.clip.source, way, real=cfg.real), way, entry.clip.source, cfg.real)
        for entry in originals
        for way in cfg.ways
    ]
    todo = [task for task in tasks if not task.out.exists()]
    workers = min(count_or_cores(cfg.workers), len(todo))
    results = run_killable(make, todo, workers=workers, time_limit=cfg.time_limit)
    problems = {}
    with contextlib.closing(results), Bar(total=len(todo), desc="resynthesise", unit="file") as bar:
        for task, result in results:
            if isinstance(result, Failure):
                problems[name_of(task.source, task.way, real=cfg.real)] = result.reason
            bar.update()
    return problems


def write_lists(
    root: Path, entries: list[Entry], originals: list[Entry], problems: dict[str, str], cfg: ResynthesisConfig
) -> None:
    """Write clips.csv of all clips and fakes that exist, and problems.csv."""
    clips: list[tuple[ClipMeta, str]] = [(entry.clip, entry.split) for entry in entries]
    clips += [(clip_of(entry.clip, way, real=cfg.real), entry.split) for entry in originals for way in cfg.ways]
    write_csv(root / OWN_TABLE, own_lines((clip, split) for clip, split in clips if clip.source not in problems))
    write_csv(root / "problems.csv", [("source", "reason"), *sorted(problems.items())])


if __name__ == "__main__":
    run_script(main)
