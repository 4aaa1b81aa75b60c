"""Kills a script at random moments, lets it finish, and compares what it made with that of an uninterrupted run.

    python benchmarks/kills.py --work /tmp/kills -- \\
        python data/preprocessing/clone_voices.py --input=data/demo/videos '--output={output}'

{output} is filled in. A kill is SIGKILL, every other time to the script alone, whose workers then have to end by
themselves. The moments are drawn over the time that a whole run takes. A run that gets to its end before all kills are
spent is compared, and the rest of them goes to a new output.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.files import sha256_of


def main() -> int:
    cli = argparse.ArgumentParser(description="Kills a script at random moments and compares what it makes.")
    cli.add_argument("--work", type=Path, required=True, help="empty folder for both outputs")
    cli.add_argument("--kills", type=int, default=20)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("command", nargs="+", help="after --; {output} stands for the output")
    args = cli.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    whole = args.work / "whole"
    started = time.monotonic()
    subprocess.run(filled(args.command, whole), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    print(f"uninterrupted: {len(hashes(whole))} files in {seconds:.0f} s", flush=True)

    rng, kills, expected, differing = random.Random(args.seed), 0, hashes(whole), 0
    for number in itertools.count(1):
        output = args.work / f"killed-{number}"
        while kills < args.kills:
            moment = rng.uniform(0, seconds)
            if not kill_after(filled(args.command, output), moment, alone=kills % 2 == 1):
                break
            kills += 1
            print(f"kill {kills} of output {number} after {moment:.1f} s", flush=True)
        subprocess.run(filled(args.command, output), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = hashes(output)
        other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        differing += len(other)
        print(f"output {number}: {len(found)} files, {len(other)} differ {' '.join(other[:5])}", flush=True)
        if kills == args.kills:
            break
    return int(differing > 0)


def filled(command: list[str], output: Path) -> list[str]:
    return [argument.replace("{output}", str(output)) for argument in command]


def kill_after(command: list[str], seconds: float, alone: bool) -> bool:
    """Starts a command and kills it; False if it ended before."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
            return True
    return False


def hashes(root: Path) -> dict[str, str]:
    """The files under a folder, hidden ones included."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_of(path) for path in paths}


if __name__ == "__main__":
    sys.exit(main())
