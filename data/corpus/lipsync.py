"""Fake videos of the built-in corpus: the mouth is drawn for other speech and blended in.

The artefacts are those of lip-sync generators that work on a 96x96 crop: a patch from mid-nose to chin that is softer
than its surroundings and has no camera grain, a slightly different colour, and a soft seam.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.corpus.face import SIZE, Head


@dataclass(frozen=True)
class Patch:
    """Properties of one clip's patch: side in pixels of the frame, resolution at which it is drawn, gain of the colour
    channels (blue, green, red), width of the seam relative to the side, and flicker of the brightness."""

    side: float
    resolution: int
    gain: np.ndarray
    seam: float
    flicker: float


def draw_patch(rng: np.random.Generator) -> Patch:
    """Draw the patch properties of one clip."""
    return Patch(
        side=rng.uniform(92, 106),
        resolution=int(rng.integers(30, 44)),
        gain=1 + rng.uniform(-0.03, 0.03, 3) + rng.choice([-1, 1]) * rng.uniform(0.01, 0.04),
        seam=rng.uniform(0.06, 0.14),
        flicker=rng.uniform(0.003, 0.012),
    )


def blend(real: np.ndarray, drawn: np.ndarray, head: Head, pose: np.ndarray, patch: Patch, gain: float) -> np.ndarray:
    """Blend the mouth of `drawn` into `real`, both (224, 224, 3) float32 of the same pose; return a new frame."""
    size = patch.resolution
    to_frame = head.placement(pose)
    x, y = to_frame @ np.array([*head.mouth, 1.0])
    step = patch.side / size
    turn = to_frame[:, :2] / np.hypot(*to_frame[:, 0]) * step
    centre = np.array([x, y + 0.06 * patch.side])
    up = np.column_stack([turn, centre - turn @ np.array([size / 2 - 0.5, size / 2 - 0.5])])
    small = cv2.warpAffine(
        cv2.blur(drawn, (3, 3)),
        up,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    small *= (patch.gain * gain).astype(np.float32)
    distance = 1 - np.abs(np.linspace(-1, 1, size, dtype=np.float32))
    fade = np.clip(distance / (2 * patch.seam), 0, 1)
    layer = np.dstack([small, np.outer(fade, fade)])
    large = cv2.warpAffine(layer, up, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    alpha = large[..., 3:]
    return real + alpha * (large[..., :3] - real)
