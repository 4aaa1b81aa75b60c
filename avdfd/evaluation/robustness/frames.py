"""Perturbations of frames: functions (frames, level, rng) -> frames, (T, H, W, 3) uint8 RGB.

A generator gives the same draw at every level, so that a curve over levels shows the effect of the level alone.
"""

import cv2
import numpy as np
from numpy.random import Generator

from avdfd.elements.form import decode_frame
from avdfd.media.codecs import h264_round_trip


def h264(frames: np.ndarray, crf: float, rng: Generator) -> np.ndarray:
    """Encode and decode all frames of a window in order, as H.264 with this constant rate factor and 4:2:0 chroma."""
    return h264_round_trip(frames, round(crf))


def resize(frames: np.ndarray, side: float, rng: Generator) -> np.ndarray:
    """Scale down to `side` pixels in height and width, and up again."""
    height, width = frames.shape[1:3]
    small = (cv2.resize(frame, (round(side), round(side)), interpolation=cv2.INTER_AREA) for frame in frames)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in small])


def blur(frames: np.ndarray, sigma: float, rng: Generator) -> np.ndarray:
    """Blur with a Gaussian of standard deviation `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def noise(frames: np.ndarray, sigma: float, rng: Generator) -> np.ndarray:
    """Add Gaussian noise of standard deviation `sigma` grey levels, independent per pixel, colour and frame."""
    return _rounded(frames + np.float32(sigma) * rng.standard_normal(frames.shape, np.float32))


def brightness(frames: np.ndarray, gain: float, rng: Generator) -> np.ndarray:
    """Multiply the brightness by `gain`."""
    return _rounded(frames * np.float32(gain))


def jpeg(frames: np.ndarray, quality: float, rng: Generator) -> np.ndarray:
    """Encode and decode every frame as a JPEG of this quality with 4:2:0 chroma."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
    encoded = (cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings)[1] for frame in frames)
    return np.stack([decode_frame(data) for data in encoded])


def missing(frames: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Black out the last `percent` of the frames of a window."""
    left = round(len(frames) * (1 - percent / 100))
    return np.concatenate([frames[:left], np.zeros_like(frames[left:])])


def missing_landmarks(landmarks: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Repeat the landmarks of the last frame that `missing` leaves, or of the first one if it leaves none."""
    left = round(len(landmarks) * (1 - percent / 100))
    return landmarks[np.minimum(np.arange(len(landmarks)), max(left - 1, 0))]


def _rounded(frames: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)
