"""Time of data/preprocess.py on one core, against only decoding the same files.

    python benchmarks/preprocess_speed.py                               ../shared/clips, those that need a face crop
    python benchmarks/preprocess_speed.py --clips data/demo/videos      the built-in corpus, 224x224 as it comes

Decoding uses the same decoder and converts every frame to an RGB array and all audio to samples. Preprocessing is the
whole script with one worker. Both run in processes of their own, on the same core, one after the other; the start-up
(imports) is measured on a run over one file and reported separately. Then two workers on two cores are compared with
one worker on one core and on two (where writing the elements has a core to itself), and two processes that only decode
with one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.core.errors import MediaError
from avdfd.corpora.scan import scan
from avdfd.features.window import FACE_SIZE
from avdfd.media.audio import read_audio
from avdfd.media.video import read_video

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--clips", type=Path, default=ROOT.parent / "shared" / "clips")
    cli.add_argument("--landmarks", action="store_true", help="store landmarks, too")
    cli.add_argument("--limit", type=int, default=0, help="use this many files, evenly spread (0: all)")
    cli.add_argument("--decode", type=Path, help="(internal) only decode the files under this folder")
    args = cli.parse_args()
    if args.decode:
        decode_all(args.decode)
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores[:1])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cropped = link_suitable(args.clips, work / "videos", args.limit)
        link_suitable(args.clips, work / "one", 1)
        preprocess = [
            sys.executable,
            "data/preprocess.py",
            "--config",
            str(write_config(work, landmarks=args.landmarks)),
            "--workers=1",
        ]
        decode = [sys.executable, "benchmarks/preprocess_speed.py", "--decode"]
        runs = {
            "decode": timed([*decode, str(work / "videos")]),
            "preprocess": timed([*preprocess, f"--output={work / 'elements'}"]),
            "decode, one file": timed([*decode, str(work / "one")]),
            "preprocess, one file": timed([*preprocess, f"--input={work / 'one'}", f"--output={work / 'other'}"]),
        }
        size = sum(path.stat().st_size for path in (work / "elements").iterdir())
        report(runs, cropped, size)
        if len(cores) == 2:
            os.sched_setaffinity(0, cores)
            scaling(runs["preprocess"]["wall"], runs["preprocess, one file"]["wall"], preprocess[:-1], work)
            machine([*decode, str(work / "videos")])


def link_suitable(clips: Path, folder: Path, limit: int) -> int:
    """Link the files that yield windows and return their number. 224x224 files are left out if others exist."""
    usable = [
        (clip.path, size)
        for clip in scan(clips, ["RVRA", "RVFA", "FVRA", "FVFA", "RVFA-VC", "RVFA-SVC", "FAKE"])
        if (size := frame_size(clip.path))
    ]
    chosen = [path for path, size in usable if size != (FACE_SIZE, FACE_SIZE)] or [path for path, _ in usable]
    if limit:
        chosen = chosen[:: max(1, len(chosen) // limit)][:limit]
    (folder / "real").mkdir(parents=True)
    for number, path in enumerate(chosen):
        (folder / "real" / f"{number:04d}{path.suffix}").symlink_to(path.resolve())
    return len(chosen)


def frame_size(path: Path) -> tuple[int, ...] | None:
    """Return height and width, or None for a file too short or broken for a window."""
    try:
        blocks = read_audio(path)
        frames = list(read_video(path, "pyav"))
    except MediaError:
        return None
    if not frames or min(blocks[-1].end, frames[-1].time) < 3.2:
        return None
    return frames[0].gray().shape


def decode_all(folder: Path) -> None:
    import av

    for path in sorted((folder / "real").iterdir()):
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                frame.to_ndarray()
        with av.open(str(path)) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                frame.to_ndarray(format="rgb24")


def write_config(work: Path, *, landmarks: bool) -> Path:
    path = work / "preprocess.json"
    settings = {"kind": "preprocess", "input": str(work / "videos"), "max_quarantined": 1.0}
    keep = ["waveform", "mel", "frames"] + ["landmarks"] * landmarks
    path.write_text(json.dumps({**settings, "media": {"keep": keep}}))
    return path


def timed(command: list[str]) -> dict[str, float]:
    """Return the seconds of a command and its children, wall clock and CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=True, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def scaling(one: float, start_up: float, preprocess: list[str], work: Path) -> None:
    """Compare two workers with one worker on one core and on two."""
    wide, two = (timed([*preprocess, f"--workers={n}", f"--output={work / f'of{n}'}"])["wall"] for n in (1, 2))
    for name, seconds in (("one core", one), ("two cores", wide)):
        whole, steady = seconds / two, (seconds - start_up) / (two - start_up)
        print(f"two workers / one on {name}: {whole:.2f} with start-up, {steady:.2f} without")


def machine(decode: list[str]) -> None:
    """Compare twice the work by two processes on two cores with the work by one."""
    once = timed(decode)["wall"]
    started = time.perf_counter()
    both = [subprocess.Popen(decode, cwd=ROOT, env={**os.environ, **ONE_THREAD}) for _ in range(2)]
    for process in both:
        process.wait()
    print(f"decoding by two processes / by one: {2 * once / (time.perf_counter() - started):.2f}")


def report(runs: dict[str, dict[str, float]], files: int, size: int) -> None:
    print(f"{files} files, {size / 1e6:.0f} MB of elements")
    for name, seconds in runs.items():
        print(f"{name:22s} {seconds['wall']:7.2f} s   {seconds['cpu']:7.2f} s CPU")
    for clock in ("wall", "cpu"):
        whole = runs["preprocess"][clock] / runs["decode"][clock]
        steady = (runs["preprocess"][clock] - runs["preprocess, one file"][clock]) / (
            runs["decode"][clock] - runs["decode, one file"][clock]
        )
        print(f"preprocess / decode ({clock}): {whole:.2f} with start-up, {steady:.2f} without")


if __name__ == "__main__":
    main()
