"""Mouth shape: the outline of the lips over time, free of head pose and of the size of the face.

T frames   landmarks (T, 71, 3) of the face mesh, those of USED: x, y and depth in one unit -> shape (T, 120)

Every frame is turned, moved and scaled so that points which speech hardly moves (forehead, bridge of the nose, corners
of the eyes, temples) lie where they lie on average in the clip. The axes are those of that average face: x from eye to
eye, y from the eyes to the chin; the unit is the distance of the outer corners of the eyes.

References: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
"""

import numpy as np
from numpy.typing import NDArray

LIPS = (
    *(0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181),
    *(185, 191, 267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415),
)
"""Landmarks of the outer and inner outline of the lips."""
STABLE = (
    *(151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 127, 356, 234, 454),
    *(21, 251, 54, 284, 103, 332, 67, 297, 109, 338, 10, 98, 327, 4, 2),
)
"""Landmarks that follow the head, hardly the speech."""
_CHIN = 152
USED = (*LIPS, *STABLE, _CHIN)
"""Landmarks that are used, and stored with elements, in their order there."""
PLACE = {landmark: place for place, landmark in enumerate(USED)}
"""Landmark -> its place in USED."""
SHAPE = 3 * len(LIPS)
_LIPS, _STABLE = slice(len(LIPS)), slice(len(LIPS), len(LIPS) + len(STABLE))

Floats = NDArray[np.floating]


def mouth_shape(landmarks: Floats) -> NDArray[np.float32]:
    """Return the mouth shape (T, 120) of a clip's landmarks (T, 71, 3)."""
    given = landmarks.astype(np.float64)
    points = aligned(given, aligned(given, given[0]).mean(axis=0))
    mean = points.mean(axis=0)
    shape = (points[:, _LIPS] - mean[_STABLE].mean(axis=0)) @ _axes(mean)
    return shape.reshape(len(shape), SHAPE).astype(np.float32)


def aligned(points: Floats, reference: Floats) -> Floats:
    """Return points (T, 71, 3) after the similarity per frame that brings the stable ones closest to a reference."""
    moving, fixed = points[:, _STABLE], reference[_STABLE]
    centre, fixed_centre = moving.mean(axis=1, keepdims=True), fixed.mean(axis=0)
    moving, fixed = moving - centre, fixed - fixed_centre
    left, values, right = np.linalg.svd(np.swapaxes(moving, 1, 2) @ fixed)
    sign = np.ones_like(values)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))  # a reflection is no head pose
    scale = (values * sign).sum(axis=1) / np.square(moving).sum(axis=(1, 2))
    turned = (points - centre) @ (left * sign[:, None]) @ right
    return scale[:, None, None] * turned + fixed_centre


def _axes(face: Floats) -> Floats:
    """Return the matrix (3, 3) from a frame's axes to those of a face (71, 3), in units of the eyes' distance."""
    right_eye, left_eye, chin = face[[PLACE[33], PLACE[263], PLACE[_CHIN]]]
    across = left_eye - right_eye
    unit = np.linalg.norm(across)
    x = across / unit
    down = chin - (right_eye + left_eye) / 2
    y = down - x * (x @ down)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1) / unit
