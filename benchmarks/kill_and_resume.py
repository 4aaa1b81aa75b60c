"""SIGKILL at random moments, then the same command again: is the result that of a run that nobody disturbed?

    python benchmarks/kill_and_resume.py --kills 20 --work FOLDER -- \
        .venv/bin/python data/preprocess.py --config config/demo/preprocess.json --output={out}

{out} stands for the folder that the command writes to. It runs once to the end, and once with --kills kills of its
whole process group, each at a random time up to --within of the undisturbed run's; then all files but hidden ones are
compared. Exit code 1 if they differ.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def main() -> int:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--kills", type=int, default=20)
    cli.add_argument("--within", type=float, default=0.5, help="a kill comes within this part of the undisturbed time")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--work", type=Path, required=True, help="empty folder for both results")
    cli.add_argument("command", nargs="+", help="with {out} in it")
    args = cli.parse_args()
    whole, killed = args.work / "whole", args.work / "killed"
    for folder in (whole, killed):
        shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(args.seed)

    started = time.monotonic()
    code = start(args.command, whole).wait()
    undisturbed = time.monotonic() - started
    print(f"undisturbed: exit code {code}, {undisturbed:.1f} s, {len(digests(whole))} files")

    kills = early = 0
    while kills < args.kills:
        process = start(args.command, killed)
        try:
            process.wait(timeout=rng.uniform(0, args.within * undisturbed))
            early += 1
            shutil.rmtree(killed)  # it was faster than the kill: from the start again, so that every kill hits work
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    last = start(args.command, killed).wait()
    print(f"killed {kills} times ({early} times it was done before), at last exit code {last}")

    one, other = digests(whole), digests(killed)
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one)} files against {len(other)}: {'all equal' if not different else f'{len(different)} differ'}")
    for name in different[:20]:
        print(f"  {name}")
    return int(bool(different) or last != code)


def start(command: list[str], out: Path) -> "subprocess.Popen[bytes]":
    filled = [word.replace("{out}", str(out)) for word in command]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(filled, stdout=quiet, stderr=quiet, start_new_session=True)


def digests(root: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, hidden ones and what is in hidden folders aside."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


if __name__ == "__main__":
    sys.exit(main())
