"""Camera of the built-in corpus: white balance, drifting exposure and grain of one recording.

Shapes: frame (224, 224, 3) BGR, float32 before the camera and uint8 after it.
"""

from dataclasses import dataclass

import numpy as np

from data.corpus.face import SIZE
from data.corpus.mouth import FPS


@dataclass(frozen=True)
class Camera:
    """Gain of each colour channel in each frame (frames, 3), and standard deviation of the grain in grey levels."""

    gains: np.ndarray
    grain: float

    def draw_grain(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the grain of one frame (224, 224, 1)."""
        return np.float32(self.grain) * rng.standard_normal((SIZE, SIZE, 1), np.float32)

    def take(self, scene: np.ndarray, number: int, grain: np.ndarray) -> np.ndarray:
        """Return frame `number` of a scene."""
        return np.clip(scene * self.gains[number] + (grain + np.float32(0.5)), 0, 255).astype(np.uint8)


def draw_camera(frames: int, rng: np.random.Generator) -> Camera:
    """Draw the camera of one recording."""
    time = np.arange(frames) / FPS
    exposure = np.ones(frames)
    for _ in range(3):
        exposure += rng.uniform(0.0, 0.02) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.6) * time + rng.uniform()))
    gains = exposure[:, None] * rng.uniform(0.97, 1.03, 3) * rng.uniform(0.92, 1.05)
    return Camera(gains.astype(np.float32), float(np.exp(rng.uniform(np.log(0.8), np.log(5.0)))))
