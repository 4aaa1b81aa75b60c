"""Kill a script at random moments, let it finish, and compare its output with that of an uninterrupted run.

    python benchmarks/kills.py --work "$(mktemp -d)" -- \\
        python data/preprocessing/clone_voices.py --input=data/demo/videos '--output={output}'
    python benchmarks/kills.py --work "$(mktemp -d)" --kills 30 --training -- \\
        python train.py --config config/demo/train.json --resume --save_minutes=1e-9 '--runs={output}'

{output} is filled in. A kill is SIGKILL to all processes, including those in sessions of their own, like torchrun's;
every other time to the main process alone, whose workers must then stop writing by themselves. The moments are drawn
uniformly over the duration of a whole run. A run that finishes before all kills are used is compared, and the rest of
the kills go to a new output. With --training the output is the `runs` of a training script, and its contents are
compared: all weights, metrics without speed, and the training states.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import RUNS
from avdfd.core.files import sha256_of
from avdfd.training import weights
from avdfd.training.meter import SPEED

_MARK = "KILLED_BY"


def main(argv: list[str] | None = None) -> int:
    cli = argparse.ArgumentParser(description="Kills a script at random moments and compares its output.")
    cli.add_argument("--work", type=Path, required=True, help="empty folder for both outputs")
    cli.add_argument("--kills", type=int, default=20)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--training", action="store_true", help="the output is the `runs` of a training script")
    cli.add_argument("command", nargs="+", help="after --; {output} stands for the output")
    args = cli.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    contents: Callable[[Path], dict[str, str]] = meanings if args.training else hashes

    whole = args.work / "whole"
    started = time.monotonic()
    subprocess.run(filled(args.command, whole), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    expected = contents(whole)
    print(f"uninterrupted: {len(expected)} files in {seconds:.0f} s", flush=True)

    rng, kills, differing = random.Random(args.seed), 0, 0
    marks: list[str] = []
    for number in itertools.count(1):
        output = args.work / f"killed-{number}"
        while kills < args.kills:
            moment = rng.uniform(0, seconds)
            marks.append(f"{os.getpid()}-{len(marks)}")
            if not kill_after(filled(args.command, output), moment, marks[-1], alone=kills % 2 == 1):
                break
            kills += 1
            print(f"kill {kills} of output {number} after {moment:.1f} s", flush=True)
        subprocess.run(filled(args.command, output), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = contents(output)
        other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        differing += len(other)
        print(f"output {number}: {len(found)} files, {len(other)} differ {' '.join(other[:5])}", flush=True)
        if kills == args.kills:
            break
    for mark in marks:  # processes of a torchrun killed at its start wait half an hour for it
        kill_marked(mark)
    return int(differing > 0)


def filled(command: list[str], output: Path) -> list[str]:
    return [argument.replace("{output}", str(output)) for argument in command]


def kill_after(command: list[str], seconds: float, mark: str, alone: bool) -> bool:
    """Start a command with a mark in its environment and kill it; return False if it ended before."""
    environment = {**os.environ, _MARK: mark}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            if not alone:
                kill_marked(mark)
            return True
    return False


def kill_marked(mark: str) -> None:
    """Send SIGKILL to every process whose environment has a mark, until there is none."""
    wanted, found = f"{_MARK}={mark}".encode(), True
    while found:
        found = False
        for place in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # another user's, or one that has ended
                if wanted in place.read_bytes().split(b"\0"):
                    os.kill(int(place.parent.name), signal.SIGKILL)
                    found = True


def hashes(root: Path) -> dict[str, str]:
    """Return the sha256 of the files under a folder, hidden ones included."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_of(path) for path in paths}


# ---- training


def meanings(root: Path) -> dict[str, str]:
    """Return digests of the contents of the runs under a folder, without speed and paths."""
    found = {}
    for path in sorted(root.rglob("*")):
        content: Any = None
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            content = [{key: value for key, value in line.items() if key not in SPEED} for line in lines]
        elif path.suffix == ".safetensors":
            facts, model = weights.load(path, *RUNS)
            content = {**facts.model_dump(), "model": model}
        elif path.suffix == ".pt":
            content = torch.load(path, weights_only=True)
        if isinstance(content, dict):  # place and conditions of the run
            del content["config"]["runs"], content["config"]["data"]["workers"]
        if content is not None:
            digest = hashlib.sha256()
            _digest(content, digest.update)
            found[str(path.relative_to(root))] = digest.hexdigest()
    return found


def _digest(value: Any, update: Callable[[bytes], None]) -> None:
    """Feed a value to a hash: tensors by type, shape and every bit, dicts in the order of their keys."""
    if isinstance(value, torch.Tensor):
        update(f"{value.dtype}{list(value.shape)}".encode())
        update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            update(f"{key!r}:".encode())
            _digest(value[key], update)
    elif isinstance(value, list | tuple):
        update(f"{len(value)}[".encode())
        for item in value:
            _digest(item, update)
    else:
        update(repr(value).encode())


if __name__ == "__main__":
    sys.exit(main())
