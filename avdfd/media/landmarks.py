"""Face mesh of every moment of a file, at 25 a second, with the audio of the same span.

The largest face of the first frame that has one is followed; if it is lost, the largest one takes its place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avdfd.core.errors import MediaError
from avdfd.features.window import FPS, SAMPLE_RATE
from avdfd.media.audio import join_pieces, read_audio
from avdfd.media.face_mesh import Mesh, detect, find_mesh, mesh_of, region_around
from avdfd.media.video import read_video

# Presence of a face below which it is looked for again, and below which there is none.
_SURE, _PRESENT = 0.5, 0.3
# Part of the moments that need a face.
_FOUND = 0.5
_SAMPLES = SAMPLE_RATE // FPS


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
    times, meshes = [], []
    for time, mesh in _meshes(path):
        times.append(time)
        meshes.append(mesh)
    pieces = read_audio(path)
    if not times or not pieces:
        raise MediaError("no audio" if times else "no video")
    start = max(times[0], pieces[0].start)
    end = min(times[-1] + float(np.median(np.diff(times))) if len(times) > 1 else times[0], pieces[-1].end)
    count = int((end - start) * FPS + 1e-3)
    if count < 1:
        raise MediaError("audio and video do not overlap")
    frames = _nearest(np.array(times), start + np.arange(count) / FPS)
    found = np.array([meshes[i] is not None for i in frames])
    if found.mean() < _FOUND:
        raise MediaError("no face")
    known = np.flatnonzero(found)
    nearest = known[_nearest(known, np.arange(count))]
    landmarks = np.stack([mesh.points for i in frames[nearest] if (mesh := meshes[i]) is not None])
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
