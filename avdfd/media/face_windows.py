"""Windows cropped to a face: which face, where, and the reason if there is none.

Of several faces in a window the one that speaks is taken, or the largest if that is not clear. A window without a face
that is in its crop for `media.face.min_found` of the frames is unusable.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from avdfd.config import FaceConfig
from avdfd.elements.form import encode_bgr
from avdfd.features.window import FPS
from avdfd.media.assembly import Keep, Window
from avdfd.media.crops import Square, WindowFace, crop, own_square, resize
from avdfd.media.face_paths import Face, faces_of
from avdfd.media.faces import FaceTracker
from avdfd.media.speaker import speaking
from avdfd.media.video import Frame

Cut = Callable[[Iterable[Frame], Keep], Iterator[Window]]
"""`assemble` for one file."""


Chosen = list[tuple[WindowFace, Callable[[float], Square]]]
"""Faces of a window, each with the function from the time of a frame to the square that is cut out."""


class FaceCropper:
    """Cropping of the windows of one file, whose frames have the shape (H, W) at first, to faces."""

    def __init__(self, config: FaceConfig, shape: tuple[int, ...], quality: int, *, all_faces: bool) -> None:
        self.config, self.shape, self.quality, self.all_faces = config, shape, quality, all_faces
        self._tracker = FaceTracker(config)
        self._faces: list[Face] = []

    def buffered(self, frames: Iterator[Frame], cut: Cut) -> Iterator[Window]:
        """Yield the windows of some frames, which are kept in memory until all faces are known."""
        waiting = deque(cut(self._tracker.watch(frames), lambda frame, start: frame))
        self._find_faces()
        while waiting:
            window = waiting.popleft()
            chosen = self._choose(window, np.array([frame.time for frame in window.frames]))
            crops = [self._crops(frame, chosen) for frame in window.frames]
            yield from self._finished(window._replace(frames=crops), chosen)

    def decoded_twice(
        self, frames: Iterator[Frame], again: Callable[[], Iterator[Frame]], cut: Cut
    ) -> Iterator[Window]:
        """Yield the windows of some frames, which `again` decodes once more when the faces are known."""
        found = [*cut(self._tracker.watch(frames), lambda frame, start: frame.time)]
        self._find_faces()
        chosen = {window.start: self._choose(window, np.array(window.frames)) for window in found}
        for window in cut(again(), lambda frame, start: self._crops(frame, chosen.get(start, []))):
            yield from self._finished(window, chosen[window.start])

    def _find_faces(self) -> None:
        self._tracker.finish()
        self._faces = faces_of(self._tracker.shots, self.shape, self.config)

    def _choose(self, window: Window, times: np.ndarray) -> Chosen:
        """Return the face that a window with frames of some times (T,) is cropped to, or none; with `all_faces` all
        that it could be cropped to."""
        seen = [(number, face) for number, face in enumerate(self._faces, 1) if face.is_seen(window.start, window.end)]
        found = [(number, face, face.at(times)) for number, face in seen]
        usable = [one for one in found if one[2].inside.mean() >= self.config.min_found]
        if not usable:
            return []
        moments = window.start + np.arange(len(times)) / FPS
        several = len(usable) > 1
        speaker = speaking([face.at(moments).mouths for _, face, _ in usable], window.samples) if several else None
        areas = [float(np.median(places.boxes[:, 2:].prod(axis=1))) for _, _, places in usable]
        judged = int(np.argmax(areas)) if speaker is None else speaker
        time = float(moments[len(times) // 2])
        return [
            (
                WindowFace(
                    number=number,
                    present=len(usable),
                    judged=position == judged,
                    speaks=position == speaker,
                    time=round(time, 3),
                    box=face.box(time),
                    squares=places.squares,
                ),
                face.square,
            )
            for position, (number, face, places) in enumerate(usable)
            if self.all_faces or position == judged
        ]

    def _crops(self, frame: Frame, chosen: Chosen) -> list[bytes]:
        return [packed(frame, square(frame.time), self.quality) for _, square in chosen]

    def _finished(self, window: Window, chosen: Chosen) -> Iterator[Window]:
        """Yield a window for each face, or one with the reason why there is none."""
        for position, (face, _) in enumerate(chosen):
            yield window._replace(frames=[crops[position] for crops in window.frames], face=face)
        if not chosen:
            reason = "no face found"
            if any(face.is_seen(window.start, window.end) for face in self._faces):
                reason = f"face in the crop for less than {self.config.min_found:.0%} of the frames"
            yield window._replace(frames=[], reason=reason)


def packed(frame: Frame, region: Square | None, quality: int) -> bytes:
    """Return the JPEG of a square, or without one of the whole frame; it is encoded once for all its windows."""
    if region not in frame.encoded:
        image = resize(frame.bgr()) if region is None else crop(frame, own_square(frame, region))
        frame.encoded[region] = encode_bgr(image, quality)
    return frame.encoded[region]
