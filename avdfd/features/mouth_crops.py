"""Mouth crops as AV-HuBERT, AVH-Align and SpeechForensics take them, from face crops and their landmarks.

T frames   landmarks (T, 71, 3) of the face mesh, those of `avdfd.features.mouth_shape.USED`

Each frame is turned, moved and scaled by the similarity that brings five stable points closest to those of a mean face
of 256x256 pixels. The points are smoothed: their mean over this and the next 11 frames. The crop is the 96x96 pixels
around the mean of the mouth's points, in whole pixels of that face; outside the frame it is black.

The published preparation takes dlib's 68 points. Points of the mesh stand for those that it uses: for the corners of
the eyes (36, 39, 42, 45) and the base of the nose (33), and for the 20 of the lips (48 to 67).

References:
    Martinez et al., "Lipreading using temporal convolutional networks", ICASSP 2020 (mean face, smoothing, crop).
    Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster Prediction", ICLR 2022.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from avdfd.features.mouth_shape import PLACE

SIDE = 96
"""Side of a crop in pixels."""
MIDDLE = 88
"""Side of its middle, which AV-HuBERT takes."""
_LUMA = (0.299, 0.587, 0.114)
_CANVAS = 256  # side of the image that the mean face is in
_SMOOTHED = 12  # frames
_STABLE = [PLACE[landmark] for landmark in (2, 33, 133, 362, 263)]
_MEAN_FACE = np.array([(128.87, 137.30), (92.52, 94.37), (112.77, 94.94), (145.53, 94.53), (166.68, 93.57)])
"""(5, 2) the stable points in the mean face, pixel centres at whole numbers."""
_MOUTH = [
    PLACE[landmark]
    for landmark in (
        *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
        *(78, 81, 13, 311, 308, 402, 14, 178),
    )
]


def mouth_crops(frames: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut the mouth out of successive frames (T, H, W, 3) uint8 RGB with landmarks (T, 71, 3): (T, 96, 96) grey."""
    points = landmarks[:, :, :2].astype(np.float64) - 0.5  # the mesh counts pixel centres at halves
    turns, shifts = _similarities(_smoothed(points[:, _STABLE]))
    mouths = turns * _complex(points[:, _MOUTH].mean(axis=1)) + shifts
    left, top = np.clip(np.rint([mouths.real, mouths.imag]) - SIDE / 2, 0, _CANVAS - SIDE)
    red, green, blue = torch.from_numpy(frames).unbind(dim=-1)
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    # From the crop to the frame; torch counts either from -1 to 1, the centres of the first and the last pixel.
    half = (SIDE - 1) / 2
    back, middle = half / turns, (left + half + 1j * (top + half) - shifts) / turns
    across, down = (2 / (side - 1) for side in (frames.shape[2], frames.shape[1]))
    rows = [
        [across * back.real, -across * back.imag, across * middle.real - 1],
        [down * back.imag, down * back.real, down * middle.imag - 1],
    ]
    theta = torch.from_numpy(np.moveaxis(np.array(rows, np.float32), -1, 0))
    grid = F.affine_grid(theta, [len(frames), 1, SIDE, SIDE], align_corners=True)
    crops = F.grid_sample(grey[:, None], grid, padding_mode="zeros", align_corners=True)
    return crops[:, 0].round().to(torch.uint8).numpy()


def middle(crops: torch.Tensor) -> torch.Tensor:
    """Crops (B, T, 96, 96) -> their middle with a channel (B, 1, T, 88, 88)."""
    margin = (SIDE - MIDDLE) // 2
    return crops[:, None, :, margin : margin + MIDDLE, margin : margin + MIDDLE]


def _smoothed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of points (T, P, 2) over this and the next 11 frames; the last 11 frames have the last mean."""
    count = min(_SMOOTHED, len(points))
    means = np.lib.stride_tricks.sliding_window_view(points, count, axis=0).mean(axis=-1)
    return means[np.minimum(np.arange(len(points)), len(means) - 1)]


def _similarities(points: NDArray[np.float64]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return a and b (T,) of the similarities z -> a z + b, x + iy, that bring points (T, 5, 2) to the mean face."""
    moving, fixed = _complex(points), _complex(_MEAN_FACE)
    centre, fixed_centre = moving.mean(axis=1), fixed.mean()
    moving, fixed = moving - centre[:, None], fixed - fixed_centre
    turns = (moving.conj() * fixed).sum(axis=1) / np.square(np.abs(moving)).sum(axis=1)
    return turns, fixed_centre - turns * centre


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    return points[..., 0] + 1j * points[..., 1]
