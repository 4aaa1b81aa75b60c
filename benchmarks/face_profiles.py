"""Faces turned to the side: the share of frames in which detector and mesh find the face, by its angle.

    python benchmarks/face_profiles.py [--clips FOLDER] [--every N]

The first eight seconds of every clip that is not a 224x224 crop already are searched as preprocessing does it, but in
every frame, so that the angle of the face is known from its mesh, in space: that of the line between the outer corners
of the eyes against the plane of the image. In a frame in which the face of a track is not followed, the angle is
interpolated between the frames around it. Then each frame is searched alone, as the first one of a shot is: by the
detector for near faces, and by the one for far faces where that finds none, each with the mesh.

A face that is in no track is in no row. Large angles occur at the ends of turns of faces that were found before, so
that the rates are upper bounds for videos that show a profile from their first frame to their last.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.core.errors import MediaError
from avdfd.corpora.scan import SUFFIXES
from avdfd.features.window import FACE_SIZE
from avdfd.media.boxes import SAME_FACE, overlap
from avdfd.media.face_mesh import (
    LEFT_EYE_OUTER,
    RIGHT_EYE_OUTER,
    Mesh,
    detect,
    find_mesh,
    mesh_of,
    region_around,
)
from avdfd.media.video import read_video

LEAST = 0.5  # score and presence, as media.face.min_score
SECONDS = 8.0
LOST = 1.0  # seconds without the face after which a track ends
BINS = (0, 15, 30, 45, 60, 90)


class Moment(NamedTuple):
    """A frame of a track."""

    time: float
    box: np.ndarray | None
    """None if the face is not followed."""
    yaw: float
    """Degrees; NaN if it is not followed."""
    alone: bool
    """True if the detector and the mesh find the face without knowing where it was."""
    boxes: list[np.ndarray]
    """All faces that they find."""


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--clips", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "clips")
    cli.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th clip only")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    rows: list[tuple[str, float, bool, bool]] = []
    for path in [path for path in sorted(args.clips.rglob("*")) if path.suffix in SUFFIXES][:: args.every]:
        try:
            rows += [(path.name, *row) for track in tracks(path) for row in judged(track)]
        except MediaError:
            continue
    report(rows)


def yaw_of(mesh: Mesh) -> float:
    """Return the angle in degrees, 0 to 90, by which a head is turned to either side."""
    x, _, depth = mesh.points[LEFT_EYE_OUTER] - mesh.points[RIGHT_EYE_OUTER]
    return math.degrees(math.atan2(abs(float(depth)), abs(float(x))))


def tracks(path: Path) -> list[list[Moment]]:
    """Return the tracks of the largest face of a clip."""
    found: list[list[Moment]] = []
    mesh: Mesh | None = None
    last = first = -math.inf
    for frame in read_video(path, "pyav"):
        if frame.shape == (FACE_SIZE, FACE_SIZE):
            return []
        first = frame.time if math.isinf(first) else first
        if frame.time - first > SECONDS:
            break
        image = frame.framed()
        boxes = [one.box for one in searched(image)]
        followed = find_mesh(image, region_around(mesh)) if mesh is not None else None
        if followed is not None and followed.presence < LEAST:
            followed = None
        if followed is None and boxes and (mesh is None or frame.time - last > LOST):
            followed = max(searched(image), key=lambda one: one.box[2:].prod())
            found.append([])
        if followed is not None:
            mesh, last = followed, frame.time
        if found:
            box = None if followed is None else followed.box
            alone = box is not None and any(overlap(box, other) > SAME_FACE for other in boxes)
            yaw = math.nan if followed is None else yaw_of(followed)
            found[-1].append(Moment(frame.time, box, yaw, alone, boxes))
    return found


def searched(image: np.ndarray) -> list[Mesh]:
    """Return the faces of a frame that is searched alone."""
    for far in (False, True):
        meshes = [mesh_of(image, face) for face in detect(image, far=far, min_score=LEAST)]
        if sure := [mesh for mesh in meshes if mesh.presence >= LEAST]:
            return sure
    return []


def judged(track: list[Moment]) -> list[tuple[float, bool, bool]]:
    """Return angle, followed, and found alone, of the frames of a track up to the last one that is followed."""
    while track[-1].box is None:
        track = track[:-1]
    times = np.array([moment.time for moment in track])
    known = np.array([moment.box is not None for moment in track])
    yaws = np.interp(times, times[known], [moment.yaw for moment in track if moment.box is not None])
    boxes = np.stack([moment.box for moment in track if moment.box is not None])
    places = np.stack([np.interp(times, times[known], column) for column in boxes.T], axis=1)
    return [
        (
            float(yaw),
            moment.box is not None,
            moment.alone or any(overlap(place, box) > SAME_FACE for box in moment.boxes),
        )
        for yaw, place, moment in zip(yaws, places, track, strict=True)
    ]


def report(rows: list[tuple[str, float, bool, bool]]) -> None:
    print(f"{len(rows)} frames of {len({name for name, *_ in rows})} clips")
    print("degrees   frames  clips  followed  found alone")
    for low, high in itertools.pairwise(BINS):
        mine = [row for row in rows if low <= row[1] < high]
        if mine:
            clips = len({name for name, *_ in mine})
            followed, alone = (float(np.mean([row[column] for row in mine])) for column in (2, 3))
            print(f"{low:2d} to {high:2d}  {len(mine):6d}  {clips:5d}  {followed:8.1%}  {alone:11.1%}")


if __name__ == "__main__":
    main()
