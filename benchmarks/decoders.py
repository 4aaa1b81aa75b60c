"""PyAV against decord: speed, and accuracy of the frames' times.

    python benchmarks/decoders.py [--clips FOLDER]

Speed: all frames of every file as RGB arrays, one thread, in a process that is killed after a minute. Accuracy: files
generated here whose frames show their number, so that the reported time of a frame can be checked.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.core.workers import Failure, run_killable
from avdfd.corpora.scan import SUFFIXES
from avdfd.media.video import read_video
from tests.helpers.recordings import frame_number, record

DECODERS = ("pyav", "decord")


def main() -> None:
    cli = argparse.ArgumentParser(description="PyAV against decord.")
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    args = cli.parse_args()
    files = sorted(path for path in args.clips.rglob("*") if path.suffix in SUFFIXES)
    speed(files)
    agreement(files)
    accuracy()


def speed(files: list[Path]) -> None:
    print(f"\n{len(files)} files, one thread\n\ndecoder    frames   seconds   frames/s   files failed")
    for decoder in DECODERS:
        results = each(partial(decode, decoder=decoder), files)
        good = [result for result in results.values() if not isinstance(result, Failure)]
        frames, seconds = sum(r[0] for r in good), sum(r[1] for r in good)
        failures = {path.name: r.reason for path, r in results.items() if isinstance(r, Failure)}
        print(f"{decoder:8s} {frames:8d} {seconds:9.2f} {frames / seconds:10.0f}   {failures or 'none'}")


def agreement(files: list[Path]) -> None:
    """Print the differences between the two in number, times and pixels of frames."""
    outcomes: Counter[str] = Counter()
    for path, result in each(compare, files).items():
        outcome = result.reason if isinstance(result, Failure) else result
        outcomes[outcome] += 1
        if outcome != "same":
            print(f"  {path.name}: {outcome}")
    print("PyAV and decord on the same files:", dict(outcomes.most_common(3)))


def accuracy() -> None:
    gaps = np.random.default_rng(3).uniform(0.02, 0.12, 200)
    variable = list(np.cumsum(gaps) - gaps[0])
    cases: dict[str, tuple[list[float], dict[str, str]]] = {
        f"{fps:g} fps": ([n / fps for n in range(200)], {"bf": "0"}) for fps in (12.5, 24, 30_000 / 1001, 50)
    }
    cases |= {
        "25 fps, B-frames": ([n / 25 for n in range(200)], {"bf": "3"}),
        "variable": (variable, {"bf": "0"}),
        "variable, B-frames": (variable, {"bf": "3"}),
        "starts at 0.5 s": ([0.5 + n / 25 for n in range(200)], {"bf": "0"}),
    }
    print("\nlargest error of the time of a frame, ms (200 frames; MP4 and MKV)\n")
    for name, (times, options) in cases.items():
        row = []
        for decoder in DECODERS:
            for suffix in (".mp4", ".mkv"):
                with tempfile.TemporaryDirectory() as folder:
                    path = record(Path(folder) / f"clip{suffix}", times, None, options=options)
                    found = each(partial(numbers, decoder=decoder), [path])[path]
                row.append(f"{decoder} {suffix[1:]} {worst(found, times)}")
        print(f"{name:20s} " + "   ".join(row))


def worst(found: Any, times: list[float]) -> str:
    if isinstance(found, Failure):
        return found.reason
    error = max(abs(time - times[number]) for number, time in found)
    return f"{1e3 * error:6.1f}" + ("" if len(found) == len(times) else f" ({len(found)} frames)")


def decode(path: Path, decoder: str) -> tuple[int, float]:
    started, count = time.process_time(), 0
    for frame in read_video(path, decoder):
        frame.rgb()
        count += 1
    return count, time.process_time() - started


def compare(path: Path) -> str:
    ours = [(frame.time, frame.rgb()) for frame in read_video(path, "pyav")]
    theirs = [(frame.time, frame.rgb()) for frame in read_video(path, "decord")]
    if len(ours) != len(theirs):
        return f"{len(ours)} frames against {len(theirs)}"
    apart = max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True))
    if apart > 0.002:
        return f"times up to {apart * 1e3:.0f} ms apart"
    shapes = {a[1].shape == b[1].shape for a, b in zip(ours, theirs, strict=True)}
    if shapes != {True}:
        return f"images of {ours[0][1].shape[:2]} against {theirs[0][1].shape[:2]}"
    pixels = max(np.abs(a[1].astype(int) - b[1]).mean() for a, b in zip(ours, theirs, strict=True))
    return "same" if pixels < 3 else f"pixels differ by {pixels:.0f} levels"


def numbers(path: Path, decoder: str) -> list[tuple[int, float]]:
    return [(frame_number(frame.rgb()), frame.time) for frame in read_video(path, decoder)]


def each(function: Callable[[Path], Any], files: list[Path]) -> dict[Path, Any]:
    return dict(run_killable(function, files, workers=1, time_limit=60))


if __name__ == "__main__":
    main()
