"""CPU time until a script answers `--help`: what importing its modules takes.

    python benchmarks/startup.py                      all scripts, beside the import of torch
    python benchmarks/startup.py --against REVISION   the same scripts of another commit, in turn

The other commit is checked out to a temporary git worktree. Times are user and system time, the least of all repeats.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = (
    *("detect.py", "evaluate.py", "compare.py", "pretrain.py", "train.py", "baseline.py", "search.py", "ablate.py"),
    *("data/preprocess.py", "data/demo_corpus.py"),
)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--repeats", type=int, default=5)
    cli.add_argument("--against", metavar="REVISION", help="a commit to compare with")
    args = cli.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        roots = [ROOT]
        if args.against:
            roots.append(Path(folder) / "other")
            git("worktree", "add", "--detach", str(roots[1]), args.against)
        try:
            report(roots, args.repeats)
        finally:
            if args.against:
                git("worktree", "remove", "--force", str(roots[1]))


def report(roots: list[Path], repeats: int) -> None:
    """Print the seconds of each script in each checkout."""
    torch = min(seconds(["-c", "import torch"], ROOT) for _ in range(repeats))
    print(f"{'import torch':20s} {torch:5.2f} s")
    for script in SCRIPTS:
        there = [root for root in roots if (root / script).exists()]
        times = [[seconds([script, "--help"], root) for root in there] for _ in range(repeats)]
        best = [min(column) for column in zip(*times, strict=True)]
        print(f"{script:20s}" + "".join(f" {value:5.2f} s" for value in best), flush=True)


def seconds(arguments: list[str], root: Path) -> float:
    """Return the CPU time of a Python process in a checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=root, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)


if __name__ == "__main__":
    main()
