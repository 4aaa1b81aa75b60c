"""A verdict on media files of one's own: one line for each file, JSON with --json.

    python detect.py --run runs/train video.mp4 folder/of/videos --json
    python detect.py --run runs/train video.mp4 --plot video.png
    python detect.py --run runs/pretrain speech.wav speech.flac

A file is cut into windows of 3.072 s that begin every --hop seconds, and each window is scored. The file's
score is the mean over its windows of P(fake), fused where the run has both branches: a short manipulation in a long
video shows in `windows` rather than in the score. A sound file is judged by the audio branch alone, and `basis` says
so; one shorter than a window is repeated until it fills one. Exit code 1 if any file could not be scored.
"""

import argparse
import json
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from avdfd import plots
from avdfd.config import MediaConfig, parse
from avdfd.datasets.clips import SOUND_SUFFIXES, SUFFIXES, is_sound
from avdfd.elements import Element, unpack
from avdfd.errors import UserError, run_script
from avdfd.features import FPS
from avdfd.files import write_atomic
from avdfd.media import SECONDS
from avdfd.media import windows as cut_windows
from avdfd.scoring import Run, by_ear, load_run, score_windows
from avdfd.workers import Failure, run_killable

_BATCH = 8  # windows that are in memory at once
_STRIP = 24  # at least so many windows, where there are as many, give frames for the film strip


def main(argv: list[str]) -> int:
    cli = argparse.ArgumentParser(description="A verdict on media files.", allow_abbrev=False)
    cli.add_argument("files", nargs="+", type=Path, metavar="FILE", help="media files, or folders that hold some")
    cli.add_argument("--run", required=True, help="run folder of a training script")
    cli.add_argument("--json", action="store_true", help="one JSON object per line")
    cli.add_argument("--plot", type=Path, metavar="OUT.png", help="draw one file's scores over time (.png .svg .pdf)")
    cli.add_argument("--threshold", type=float, default=0.5, help="called fake from this score on")
    cli.add_argument("--hop", type=float, default=1.536, help="seconds from window to window")
    cli.add_argument("--time-limit", type=float, default=600.0, help="seconds that one file may take to decode")
    cli.add_argument("--workers", type=int, default=1, help="files decoded at the same time")
    cli.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = cli.parse_args(argv)

    if not 0 <= args.threshold <= 1 or args.workers < 1:
        raise UserError("--threshold takes a probability from 0 to 1, --workers a number of 1 or more")
    media = parse({"hop": args.hop, "time_limit": args.time_limit}, MediaConfig, source="detect.py")
    files = find_files(args.files)
    if args.plot:
        check_plot(args.plot, files)
    run = load_run(args.run, args.device)
    listener = by_ear(run)
    if run.inputs.reads.mel_err:
        raise UserError(
            f"{args.run}: hears mel_err, which takes a diffusion model; make elements with data/preprocess.py and "
            "score them with evaluate.py"
        )

    failed = 0
    width = max(len(str(file)) for file in files)
    with tempfile.TemporaryDirectory(prefix="avdfd-detect-") as spool:
        cut = partial(spool_windows, media=media, folder=spool)
        decoded = run_killable(cut, files, workers=args.workers, time_limit=media.time_limit)
        with closing(decoded):
            for file, windows in tqdm(decoded, total=len(files), desc="detect", unit="file"):
                judge = listener if is_sound(file.name) else run
                if isinstance(windows, Failure):
                    line = verdict(file, error=windows.reason)
                elif judge is None:
                    line = verdict(file, error=f"no pictures, without which {run.config.kind} cannot judge")
                else:
                    seen = look(judge, windows, with_strip=args.plot is not None)
                    line = verdict(file, seen, args.threshold)
                    if args.plot:
                        write_atomic(args.plot, plots.encode(draw(line, seen, args.threshold), args.plot.suffix))
                failed += line["error"] is not None
                tqdm.write(json.dumps(line) if args.json else as_text(line, width), file=sys.stdout)
                sys.stdout.flush()
    return 1 if failed else 0


def find_files(paths: list[Path]) -> list[Path]:
    """The files, and the media files in the folders, each once. Raises UserError for a path that gives none."""
    files: list[Path] = []
    known = SUFFIXES | SOUND_SUFFIXES
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in known and p.is_file())
            if not found:
                raise UserError(f"{path}: no media file in this folder; known are {' '.join(sorted(known))}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such file or folder; correct the path")
    return list(dict.fromkeys(files))


def check_plot(path: Path, files: list[Path]) -> None:
    """Raises UserError where the plot could not be made or written, before any work is done for it."""
    if len(files) != 1:
        raise UserError(f"--plot draws one file, these are {len(files)}; call detect.py once for each")
    if path.suffix not in plots.SUFFIXES:
        raise UserError(f"{path}: no kind of picture that can be drawn; use one of {' '.join(plots.SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a file for --plot")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another path for --plot") from None


class Spooled(NamedTuple):
    """A window that waits on disk, so that a long video needs no memory for all of its windows."""

    start: float
    end: float
    path: Path


class Seen(NamedTuple):
    """What the model says about the N windows of a file."""

    times: list[tuple[float, float]]
    branches: tuple[str, ...]
    """Names of the scores, the main one last."""
    columns: dict[str, np.ndarray]
    """(N,) for each branch and `w_audio`, (N, 8) for `discrepancy`."""
    strip: list[tuple[float, np.ndarray]]
    """Time and picture of some frames."""


def spool_windows(file: Path, media: MediaConfig, folder: str) -> list[Spooled]:
    """Cuts a file into windows that it leaves in a folder of their own. Runs in a worker. Raises MediaError."""
    cv2.setNumThreads(1)  # --workers says how many cores decoding takes
    torch.set_num_threads(1)
    if is_sound(file.name):
        media = media.model_copy(update={"keep": ["mel"], "repeat_short": True})
    place = Path(tempfile.mkdtemp(dir=folder))
    spooled = []
    usable = (window for window in cut_windows(file, media) if "parts" in window)
    for number, window in enumerate(usable):
        path = place / str(number)
        path.write_bytes(pickle.dumps(window["parts"]))
        spooled.append(Spooled(window["start"], window["end"], path))
    return spooled


def look(run: Run, windows: list[Spooled], *, with_strip: bool) -> Seen:
    """Scores the windows of a file, a few at a time, and removes them from the disk."""
    parts: list[dict[str, np.ndarray]] = []
    strip: list[tuple[float, np.ndarray]] = []
    every = max(1, len(windows) // _STRIP)
    for first in range(0, len(windows), _BATCH):
        chosen = windows[first : first + _BATCH]
        elements = [unpack(pickle.loads(window.path.read_bytes())) for window in chosen]
        scores = score_windows(run, elements)
        extra = {"w_audio": scores.w_audio, "discrepancy": scores.discrepancy}
        parts.append(scores.branch | {name: values for name, values in extra.items() if values is not None})
        if with_strip:
            for number, (window, element) in enumerate(zip(chosen, elements, strict=True), first):
                strip += thumbnails(window, element) if number % every == 0 and element.frames is not None else []
    shutil.rmtree(windows[0].path.parent)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Seen([(window.start, window.end) for window in windows], run.branches, columns, strip)


def thumbnails(window: Spooled, element: Element) -> Iterator[tuple[float, np.ndarray]]:
    """A few frames of a window."""
    for k in range(4, len(element.frames), 10):
        yield window.start + k / FPS, element.frames[k].copy()


def verdict(file: Path, seen: Seen | None = None, threshold: float = 0.5, error: str | None = None) -> dict[str, Any]:
    """The facts about a file, in the order in which they are printed; None where there is none."""

    def mean(name: str) -> float | None:
        return float(seen.columns[name].mean()) if seen and name in seen.columns else None

    main = seen.branches[-1] if seen else "none"
    score, weight = mean(main), mean("w_audio")
    windows = zip(seen.times, seen.columns[main].tolist(), strict=True) if seen else ()
    return {
        "file": str(file),
        "score": score,
        "verdict": None if score is None else "fake" if score >= threshold else "real",
        "audio_score": mean("audio"),
        "visual_score": mean("visual"),
        "weight_audio": weight,
        "weight_visual": None if weight is None else 1 - weight,
        "basis": None if seen is None else "audio alone" if seen.branches == ("audio",) else "audio and video",
        "windows": [{"start": start, "end": end, "score": value} for (start, end), value in windows],
        "error": error,
    }


def as_text(line: dict[str, Any], width: int) -> str:
    """The same on one aligned line."""
    if line["error"] is not None:
        return f"{line['file']:<{width}}  error: {line['error']}"
    text = f"{line['file']:<{width}}  {line['verdict']}  {line['score']:.3f}"
    for branch in ("audio", "visual"):
        if line[f"{branch}_score"] is not None:
            text += f"  {branch} {line[f'{branch}_score']:.3f}"
    if line["weight_audio"] is not None:
        text += f"  weights {line['weight_audio']:.2f} / {line['weight_visual']:.2f}"
    first, last, count = line["windows"][0]["start"], line["windows"][-1]["end"], len(line["windows"])
    if line["basis"] == "audio alone":
        text += "  (audio alone)"
    return f"{text}  {count} window{'s' if count > 1 else ''}, {first:.1f} to {last:.1f} s"


def draw(line: dict[str, Any], seen: Seen, threshold: float) -> plots.Figure:
    """Film strip, scores and discrepancy over time."""
    starts = np.array([start for start, _ in seen.times])
    tracks = {b: plots.Track(starts + SECONDS / 2, seen.columns[b]) for b in seen.branches}
    discrepancy = plots.over_time(starts, seen.columns["discrepancy"]) if "discrepancy" in seen.columns else None
    title = f"{Path(line['file']).name}   {line['verdict']}, score {line['score']:.3f}"
    span = (float(starts.min()), float(starts.max()) + SECONDS)
    return plots.timeline(title, seen.strip, tracks, discrepancy, span=span, threshold=threshold)


if __name__ == "__main__":
    run_script(main)
