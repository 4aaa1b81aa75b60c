"""Landmarks and mouth crops of stored elements: time, size and accuracy.

    .venv/bin/python benchmarks/landmarks.py --store data/elements

The store has landmarks. Times are CPU time of one core. Jitter is the root mean square of the second difference over
time of the points that follow the head, divided by that of white noise of unit variance (the square root of 6).
"Beside" stores the mouth crops as grey JPEGs of quality 95 next to the frames; "on load" makes them from all frames.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from avdfd.elements import ElementStore
from avdfd.elements.form import encode_frame, encode_landmarks
from avdfd.features.mouth_crops import mouth_crops
from avdfd.features.mouth_shape import LIPS, STABLE, mouth_shape
from avdfd.features.window import FRAMES
from avdfd.media.landmarks import landmarks_of


class _Clock:
    """CPU time of successive steps."""

    def __init__(self, spent: dict[str, list[float]]) -> None:
        self._spent, self._since = spent, time.process_time()

    def stop(self, step: str) -> None:
        self._spent[step].append(time.process_time() - self._since)
        self._since = time.process_time()


_ROUNDING = 1 / 64 / 12**0.5  # root mean square of the rounding to 1/64 pixel


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--store", required=True)
    cli.add_argument("--limit", type=int, default=20, help="elements, evenly spread")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    store = ElementStore(args.store)
    keys = [meta.key for meta in store.metas][:: max(1, len(store) // args.limit)][: args.limit]
    spent: dict[str, list[float]] = defaultdict(list)
    jitter, moved, sizes, beside = [], [], [], []
    for key in keys:
        clock = _Clock(spent)
        element = store.read(key, frames=range(FRAMES), landmarks=True)
        clock.stop("read all frames and landmarks")
        store.read(key, mel=False, landmarks=True)
        clock.stop("read landmarks alone")
        jpegs = [encode_frame(frame, 95) for frame in element.frames]
        clock.stop("encode frames again")
        landmarks_of(jpegs)
        clock.stop("find the landmarks")
        mouth_shape(element.landmarks)
        clock.stop("mouth shape")
        crops = mouth_crops(element.frames, element.landmarks)
        clock.stop("mouth crops of read frames")
        stored = [cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for crop in crops]
        clock.stop("encode mouth crops")
        for one in stored:
            cv2.imdecode(one, cv2.IMREAD_GRAYSCALE)
        clock.stop("decode mouth crops stored beside")
        stable = element.landmarks[:, len(LIPS) : len(LIPS) + len(STABLE), :2]
        jitter.append(np.sqrt(np.square(np.diff(stable, 2, axis=0)).mean() / 6))
        moved.append(np.abs(np.diff(element.landmarks[:, : len(LIPS), :2], axis=0)).mean())
        sizes.append(len(encode_landmarks(element.landmarks)))
        beside.append(sum(len(one) for one in stored))
    print(f"{len(keys)} elements of {FRAMES} frames: landmarks {np.mean(sizes):.0f} bytes, crops {np.mean(beside):.0f}")
    print(f"jitter {np.median(jitter):.3f} pixels (median), rounding {_ROUNDING:.4f}, lips move {np.mean(moved):.2f}")
    for name, seconds in spent.items():
        each = 1000 * float(np.median(seconds))
        print(f"{name:36s} {each:7.1f} ms an element, {each / FRAMES:.2f} a frame")


if __name__ == "__main__":
    main()
