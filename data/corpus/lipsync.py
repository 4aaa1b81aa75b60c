"""Blended mouths of the built-in corpus: in every video, real or fake, the mouth lies in a patch of its own.

It has the artefacts of lip-sync generators that work on a crop: a patch from mid-nose to chin that is softer than its
surroundings, of a slightly different colour, flickering, with a soft seam. Real videos have it as well, around their
own speech, so that no artefact separates fakes from real clips.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.corpus.face import SIZE, Head


@dataclass(frozen=True)
class Patch:
    """Properties of one recording's patch: side in pixels of the frame, resolution at which it is drawn, gain of the
    colour channels (blue, green, red) in each frame (frames, 3), and width of the seam relative to the side."""

    side: float
    resolution: int
    gains: np.ndarray
    seam: float


def draw_patch(frames: int, rng: np.random.Generator) -> Patch:
    """Draw the patch properties of one recording."""
    colour = 1 + rng.uniform(-0.03, 0.03, 3) + rng.choice([-1, 1]) * rng.uniform(0.01, 0.04)
    flicker = 1 + rng.uniform(0.003, 0.012) * rng.standard_normal((frames, 1))
    return Patch(
        side=rng.uniform(92, 106),
        resolution=int(rng.integers(52, 72)),
        gains=(colour * flicker).astype(np.float32),
        seam=rng.uniform(0.06, 0.14),
    )


def blend(frame: np.ndarray, head: Head, pose: np.ndarray, patch: Patch, number: int) -> None:
    """Draw the mouth of a frame (224, 224, 3) float32 again as a patch and blend it in, in place.

    `pose` is that of the head in this frame, whose number is `number`.
    """
    size = patch.resolution
    to_frame = head.placement(pose)
    x, y = to_frame @ np.array([*head.mouth, 1.0])
    turn = to_frame[:, :2] / np.hypot(*to_frame[:, 0]) * patch.side / size
    centre = np.array([x, y + 0.06 * patch.side])
    reach = np.abs(turn).sum(axis=1) * size / 2 + 2
    left, top = np.clip(np.floor(centre - reach), 0, SIZE).astype(int)
    right, bottom = np.clip(np.ceil(centre + reach), 0, SIZE).astype(int)
    around = frame[top:bottom, left:right]
    up = np.column_stack([turn, centre - (left, top) - turn @ np.array([size / 2 - 0.5, size / 2 - 0.5])])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    small = cv2.warpAffine(cv2.blur(around, (3, 3)), up, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
    small *= patch.gains[number]
    fade = np.clip((1 - np.abs(np.linspace(-1, 1, size, dtype=np.float32))) / (2 * patch.seam), 0, 1)
    layer = np.dstack([small, np.outer(fade, fade)])
    large = cv2.warpAffine(layer, up, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    around += large[..., 3:] * (large[..., :3] - around)
