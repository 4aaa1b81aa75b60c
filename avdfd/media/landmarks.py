"""Face mesh over time, at 25 a second: of a file, with the audio of the same span, or of the frames of an element.

In a file, the largest face of the first frame that has one is followed; if it is lost, the largest one takes its place.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avdfd.core.errors import MediaError
from avdfd.elements.form import decode_frame
from avdfd.features.mouth_shape import USED
from avdfd.features.window import FACE_SIZE, FPS, SAMPLE_RATE
from avdfd.media.audio import join_pieces, read_audio
from avdfd.media.face_mesh import Mesh, Region, detect, find_mesh, mesh_of, region_around
from avdfd.media.video import read_video

# Presence of a face below which it is looked for again, and below which there is none.
_SURE, _PRESENT = 0.5, 0.3
# Part of the moments that need a face.
_FOUND = 0.5
_SAMPLES = SAMPLE_RATE // FPS
# The square in which the mesh of a face crop is looked for: all of it.
_CROP = Region(FACE_SIZE / 2, FACE_SIZE / 2, FACE_SIZE, 0.0)
# How far the square around a mesh may be from it, in parts of its side and in radians; else the mesh is found again.
_LARGER, _ASIDE, _TURNED = 1.25, 0.15, 0.35
# Frames whose landmarks are remembered, as overlapping windows share them.
_REMEMBERED = 1024


class FaceAndAudio(NamedTuple):
    """Span of a file in which it has audio and video."""

    landmarks: np.ndarray
    """(T, 468, 3) float32 in pixels; where no face is found, those of the nearest frame with one."""
    found: np.ndarray
    """(T,) bool."""
    audio: np.ndarray
    """(640 T,) float32."""


def read_face(path: str | Path) -> FaceAndAudio:
    """Follow the face of a file.

    Raises MediaError if it is unreadable, lacks audio, or shows no face half of the time.
    """
    pieces = read_audio(path)  # first, as a file without audio or video is then known without decoding its frames
    times, meshes = [], []
    for time, mesh in _meshes(path):
        times.append(time)
        meshes.append(mesh)
    start = max(times[0], pieces[0].start)
    end = min(times[-1] + float(np.median(np.diff(times))) if len(times) > 1 else times[0], pieces[-1].end)
    count = int((end - start) * FPS + 1e-3)
    if count < 1:
        raise MediaError("audio and video do not overlap")
    frames = _nearest(np.array(times), start + np.arange(count) / FPS)
    landmarks = _filled([mesh.points if (mesh := meshes[i]) else None for i in frames])
    if landmarks is None:
        raise MediaError("no face")
    found = np.array([meshes[i] is not None for i in frames])
    skipped = round((start - pieces[0].start) * SAMPLE_RATE)
    audio = join_pieces(pieces, start + (count + 1) / FPS)[skipped : skipped + count * _SAMPLES]
    return FaceAndAudio(landmarks, found, audio)


def _nearest(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions of the nearest of some increasing values; of two equally near the first."""
    return np.searchsorted((known[1:] + known[:-1]) / 2, wanted)


def _meshes(path: str | Path) -> Iterator[tuple[float, Mesh | None]]:
    """Yield the time of each frame and the mesh of the face in it."""
    region = None
    for frame in read_video(path, "pyav"):
        image = frame.framed()
        mesh = find_mesh(image, region) if region else None
        if mesh is None or mesh.presence < _SURE:
            faces = detect(image) or detect(image, far=True)
            if faces:
                face = max(faces, key=lambda face: face.box[2:].prod())
                mesh = mesh_of(image, face)
        if mesh is not None and mesh.presence < _PRESENT:
            mesh = None
        region = region_around(mesh) if mesh else None
        yield frame.time, mesh


def landmarks_of(jpegs: Sequence[bytes]) -> np.ndarray | None:
    """Return the landmarks (n, 71, 3) float32 of the frames of an element, face crops (224, 224, 3) as JPEG.

    Where no face is found, they are those of the nearest frame with one; None if half of the frames have none.
    """
    return _filled([_of_crop(jpeg) for jpeg in jpegs])


@functools.lru_cache(_REMEMBERED)
def _of_crop(jpeg: bytes) -> np.ndarray | None:
    """Return the landmarks (71, 3) of a face crop, None without a face. They depend on no other frame."""
    image = decode_frame(np.frombuffer(jpeg, np.uint8))
    mesh = find_mesh(image, _CROP)
    if mesh.presence >= _PRESENT:
        around = region_around(mesh)
        mesh = mesh if _fills_crop(around) else find_mesh(image, around)
    elif faces := detect(image):
        mesh = mesh_of(image, max(faces, key=lambda face: face.box[2:].prod()))
    return mesh.points[list(USED)] if mesh.presence >= _PRESENT else None


def _fills_crop(region: Region) -> bool:
    """Return whether a region is nearly all of a crop: then a second pass finds nothing better."""
    aside = max(abs(region.x - _CROP.x), abs(region.y - _CROP.y))
    larger = region.side / _CROP.side
    return 1 / _LARGER < larger < _LARGER and aside < _ASIDE * _CROP.side and abs(region.angle) < _TURNED


def _filled(points: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the points of each moment, or those of the nearest that has some; None if half of them have none."""
    known = np.array([place for place, one in enumerate(points) if one is not None])
    if len(known) < _FOUND * len(points):
        return None
    nearest = known[_nearest(known, np.arange(len(points)))]
    return np.stack([one for place in nearest if (one := points[place]) is not None])
