"""Choice of the face that speaks, by its mouth and the audio: how often it is right.

    python benchmarks/speakers.py [--clips FOLDER]

Real clips with one face: windows of 3.072 s of a clip, and beside the mouth of the clip that of another identity, who
says something else (hard), or a mouth that keeps still but for the noise of the landmarks (a listener). Folder and
manifest as of the shared clips: `manifest.csv` with `file`, `kind` and `identity`.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import FaceConfig
from avdfd.core.errors import MediaError
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, WINDOW
from avdfd.media.audio import read_audio
from avdfd.media.face_paths import faces_of
from avdfd.media.faces import FaceTracker
from avdfd.media.speaker import speaking
from avdfd.media.video import read_video

SPEECH_FPS = 12.5  # as several faces are followed
OTHERS = 6  # mouths of other identities beside each window
STEP = 38  # frames between the starts of windows
MOST = 4  # windows of a clip
NOISE = 0.002  # standard deviation of a still mouth's distances, relative to the distance of the eyes


class Clip(NamedTuple):
    """Mouths (T, 4) at 25 per second and the audio (640 T,) of the same time."""

    identity: str
    mouths: np.ndarray
    samples: np.ndarray


def main() -> None:
    cli = argparse.ArgumentParser(description="Choice of the face that speaks: how often it is right.")
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    with (args.clips / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "real"]
    clips = [clip for row in rows if (clip := read(args.clips / row["file"], row["identity"]))]
    rng = np.random.default_rng(0)
    found: dict[str, list[int | None]] = {"another speaker": [], "a listener": []}
    for clip in clips:
        for start in range(0, len(clip.mouths) - FRAMES, STEP)[:MOST]:
            own = clip.mouths[start : start + FRAMES]
            samples = clip.samples[start * SAMPLE_RATE // FPS :][:WINDOW]
            for _ in range(OTHERS):
                still = np.median(own, axis=0) + rng.normal(0, NOISE, own.shape)
                found["a listener"].append(speaking([own, still], samples))
                other = clips[rng.integers(len(clips))]
                if other.identity != clip.identity:
                    first = rng.integers(len(other.mouths) - FRAMES)
                    beside = other.mouths[first : first + FRAMES]
                    found["another speaker"].append(speaking([own, beside], samples))
    print(f"{len(clips)} clips of {len({clip.identity for clip in clips})} identities")
    for name, choices in found.items():
        right, wrong = choices.count(0) / len(choices), choices.count(1) / len(choices)
        rates = f"right {right:.1%}  wrong {wrong:.1%}  undecided {1 - right - wrong:.1%}"
        print(f"beside {name:16s} {rates}  of {len(choices)}")


def read(path: Path, identity: str) -> Clip | None:
    """Return the mouth and the audio of a clip with one face all the time and at least a window, or None."""
    config = FaceConfig(detect_fps=SPEECH_FPS)
    tracker = FaceTracker(config)
    try:
        piece = read_audio(path)[0]
        frames = [frame.time for frame in tracker.watch(read_video(path, "pyav"))]
        shape = next(read_video(path, "pyav")).gray().shape
    except MediaError:
        return None
    tracker.finish()
    start, end = max(piece.start, frames[0]), min(piece.end, frames[-1])
    times = start + np.arange(max(0, int((end - start) * FPS))) / FPS
    faces = faces_of(tracker.shots, shape, config)
    if len(faces) != 1 or len(times) <= FRAMES or not faces[0].at(times).inside.all():
        return None
    first = round((start - piece.start) * SAMPLE_RATE)
    return Clip(identity, faces[0].at(times).mouths, piece.samples[first : first + len(times) * SAMPLE_RATE // FPS])


if __name__ == "__main__":
    main()
