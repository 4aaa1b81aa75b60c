"""CPU time until a script answers `--help`, and until it refuses a wrong request: what importing its modules takes.

    python benchmarks/startup.py                      all scripts, beside the import of torch
    python benchmarks/startup.py --against REVISION   the same scripts of another commit, in turn

The other commit is checked out to a temporary git worktree. Times are user and system time, the least of all repeats;
the first one writes the bytecode of a checkout.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFUSED = {
    "detect.py": ("--run", "none", "none.mp4"),
    "evaluate.py": ("--run", "none", "--scale", "rank"),
    "export.py": ("--run", "none", "--out", "none"),
    "compare.py": ("none",),
    "pretrain.py": ("--optim.lr=high",),
    "train.py": ("--optim.lr=high",),
    "baseline.py": ("--stage=none",),
    "search.py": ("--config=none",),
    "ablate.py": ("--config=none",),
    "data/preprocess.py": ("--config=none",),
    "data/demo_corpus.py": ("--identities=1",),
}
"""Script -> a wrong request."""


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
    """Print the seconds of each script in each checkout: of `--help`, and of the wrong request."""
    torch = min(seconds(["-c", "import torch"], ROOT, 0) for _ in range(repeats))
    print(f"{'import torch':20s} {torch:5.2f} s")
    for script, wrong in REFUSED.items():
        there = [root for root in roots if (root / script).exists()]
        runs = [(root, arguments, code) for root in there for arguments, code in ((["--help"], 0), ([*wrong], 2))]
        times = [[seconds([script, *rest], root, code) for root, rest, code in runs] for _ in range(repeats)]
        best = [min(column) for column in zip(*times, strict=True)]
        print(f"{script:20s}" + "".join(f" {value:5.2f} s" for value in best), flush=True)


def seconds(arguments: list[str], root: Path, code: int) -> float:
    """Return the CPU time of a Python process in a checkout. Raises RuntimeError for another exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)


if __name__ == "__main__":
    main()
