"""Time of detect.py on a clip of 1080p on two cores, against only decoding it.

    python benchmarks/detect_speed.py                      networks of the demo's sizes, drawn weights
    python benchmarks/detect_speed.py --sizes published    of the published sizes
    python benchmarks/detect_speed.py --run runs/demo      a run, such as that of demo.sh
    python benchmarks/detect_speed.py --profile            also where the time of cutting a file goes

The clip is made from a talking head of the built-in corpus: 10 s, 25 frames a second, H.264 of 5 Mbit/s, the head 720
pixels high, with grain. Decoding converts every frame to an RGB array and all audio to samples, with one thread as in
preprocess_speed.py, and with as many as there are cores. Both run in processes of their own, and in turn. A file in
the steady state is what each further one adds to a process; start-up is what the first one takes more. The least of all
repeats counts.
"""

import argparse
import cProfile
import itertools
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import ConsistencyStageConfig, MediaConfig, PreprocessConfig, PretrainConfig, TrainConfig, load
from avdfd.core.files import BEST
from avdfd.core.tiers import RVRA
from avdfd.evaluation.judge import load_judge
from avdfd.inference.spool import buffer_of, spool_windows
from avdfd.training import weights
from avdfd.training.build import build_detector
from avdfd.training.weights import RunFacts
from data.corpus.cast import draw_identity
from data.corpus.clips import clip_path, make_identity

ROOT = Path(__file__).resolve().parents[1]
CORES = 2
SECONDS, FPS = 10, 25
HEIGHT, WIDTH, HEAD = 1080, 1920, 720
BIT_RATE = 5_000_000
GRAIN = 2.0  # grey levels, standard deviation
DECODE = """
import sys
from pathlib import Path
import av

for path in sorted(Path(sys.argv[1]).iterdir()):
    with av.open(str(path)) as container:
        for block in container.decode(audio=0):
            block.to_ndarray()
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = int(sys.argv[2])
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
"""
"""Program that only decodes the files of a folder, with a number of threads."""


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--run", help="a run folder (default: networks with drawn weights)")
    cli.add_argument("--sizes", choices=("demo", "published"), default="demo", help="sizes of those networks")
    cli.add_argument("--clips", type=Path, nargs="+", help="clips of your own, different ones of equal form")
    cli.add_argument("--files", type=int, default=3, help="further files of a process")
    cli.add_argument("--repeats", type=int, default=3)
    cli.add_argument("--profile", action="store_true")
    args = cli.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = args.run or str(make_run(folder / "run", args.sizes))
        clips = args.clips or make_clips(folder / "clips", 1 + args.files)
        for count in (1, len(clips)):
            (folder / str(count)).mkdir()
            for clip in clips[:count]:
                (folder / str(count) / clip.name).symlink_to(clip.resolve())
        report(folder, run, len(clips) - 1, args.repeats)
        if args.profile:
            profile(clips[0], run, folder)


def make_clips(folder: Path, count: int) -> list[Path]:
    """Write clips of a head of the built-in corpus, which talks to and fro before a backdrop; each has its own grain,
    as results for equal frames are remembered."""
    identity, partial = draw_identity(0, 0), folder / "partial"
    partial.mkdir(parents=True)
    make_identity(folder, identity, partial)
    source = str(clip_path(folder, identity, RVRA, 0))
    with av.open(source) as container:
        heads = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    with av.open(source) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for seed, path in enumerate(paths):
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
            video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", BIT_RATE
            audio = container.add_stream("aac", rate=rate, layout="mono")
            for image in itertools.islice(enlarged(heads, seed), SECONDS * FPS):
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(video.encode())
            frame = av.AudioFrame.from_ndarray(np.resize(samples, (1, SECONDS * rate)), format="fltp", layout="mono")
            frame.rate = rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return paths


def enlarged(heads: list[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Yield frames of 1080p with heads (224, 224, 3) to and fro without end."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 180, (9, 16, 3)).astype(np.float32)
    backdrop = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain = [rng.normal(0, GRAIN, (HEIGHT, WIDTH, 1)).astype(np.float32) for _ in range(8)]
    top, left = (HEIGHT - HEAD) // 2, (WIDTH - HEAD) // 2
    place = slice(top, top + HEAD), slice(left, left + HEAD)
    for number, head in enumerate(itertools.cycle([*heads, *heads[::-1]])):
        image = backdrop.copy()
        image[place] = cv2.resize(head, (HEAD, HEAD), interpolation=cv2.INTER_CUBIC)
        yield (image + grain[number % len(grain)]).clip(0, 255).astype(np.uint8)


def make_run(folder: Path, sizes: str) -> Path:
    """Write a run of stage 2 with drawn weights."""
    place = ROOT / "config" / ("demo" if sizes == "demo" else "")
    drawn = ["--visual.init=random", "--visual.weights=null"]
    cfg = load(place / "train.json", TrainConfig, overrides=drawn)
    audio = load(place / "pretrain.json", PretrainConfig, overrides=[]).model
    consistency = load(place / "consistency.json", ConsistencyStageConfig, overrides=[]).model
    media = load(place / "preprocess.json", PreprocessConfig, overrides=["--input=none"]).media
    torch.manual_seed(0)
    model = build_detector(cfg, audio, consistency)
    facts = RunFacts(config=cfg, audio_model=audio, consistency_model=consistency, git="unknown", media=media)
    weights.save(folder / BEST, model.state_dict(), facts)
    return folder


def report(folder: Path, run: str, files: int, repeats: int) -> None:
    """Print the seconds of each process, of a further file in each, and their ratios."""
    commands = {
        "decode": [sys.executable, "-c", DECODE, "FOLDER", "1"],
        f"decode, {CORES} threads": [sys.executable, "-c", DECODE, "FOLDER", str(CORES)],
        "detect": [sys.executable, "detect.py", "FOLDER", "--device=cpu", "--json", "--run", run],
    }
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for name, command in commands.items():
            for count in (1, 1 + files):
                place = str(folder / str(count))
                filled = [place if word == "FOLDER" else word for word in command]
                found.setdefault((name, count), []).append(timed(filled))
    print(f"{'':20s} {'one file, with start-up':>24s} {'a further file':>20s}")
    seconds = {}
    for name in commands:
        first, all_files = (np.min(found[name, count], axis=0) for count in (1, 1 + files))
        seconds[name] = first, (all_files - first) / files
        print(f"{name:20s}" + "".join(f" {wall:9.2f} s {cpu:6.2f} s CPU" for wall, cpu in seconds[name]))
    for name in [*commands][:-1]:
        ratios = [mine / theirs for mine, theirs in zip(seconds["detect"], seconds[name], strict=True)]
        print(f"detect / {name:20s}" + "".join(f" {wall:9.2f} {cpu:6.2f} CPU" for wall, cpu in ratios))


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds of a command and its children, wall clock and CPU. Raises RuntimeError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or any(line["error"] for line in lines):
        raise RuntimeError(done.stderr + done.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def profile(clip: Path, run: str, folder: Path) -> None:
    """Print where the CPU time of a file goes: of cutting it into windows, and of scoring them."""
    judge = load_judge(run, "cpu", [], threshold=None)
    media = judge.media(MediaConfig(), hop=False, whole_frame=False, drawn=False)
    cuts = []
    for work in (
        lambda: cuts.append(spool_windows(clip, media, folder, buffer=buffer_of(1))),
        lambda: judge.judge(clip, cuts[0], explain=False),
    ):
        watch = cProfile.Profile(time.process_time)
        watch.runcall(work)
        pstats.Stats(watch).sort_stats("tottime").print_stats(12)


if __name__ == "__main__":
    main()
