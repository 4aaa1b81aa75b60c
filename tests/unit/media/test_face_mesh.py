"""Detection and landmarks on a drawn head, of which it is known how it was moved."""

import cv2
import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.media import face_mesh
from avdfd.media.face_mesh import (
    LEFT_EYE_OUTER,
    LOWER_LIP_INNER,
    RIGHT_EYE_OUTER,
    UPPER_LIP_INNER,
    Mesh,
    detect,
    find_mesh,
    mesh_of,
    region_of,
)
from data.corpus.face import Head, draw_look, draw_motion


def head(opening: float = 0.2) -> np.ndarray:
    """Return a drawn head (224, 224, 3) RGB with a mouth that is open by 0 to 1."""
    rng = np.random.default_rng(3)
    drawn = Head(draw_look("Asian (South)", "men", rng), rng).frame(
        draw_motion(1, rng)[0], np.array([opening, 0.5, 0.1, 0, 0])
    )
    return np.ascontiguousarray(drawn[..., ::-1])


HEAD = head()


def placed(scale: float, degrees: float, across: float, down: float, size=(360, 640)) -> tuple[np.ndarray, np.ndarray]:
    """Return the head in a larger image, and the matrix (2, 3) that puts its points there."""
    matrix = cv2.getRotationMatrix2D((112, 112), degrees, scale)
    matrix[:, 2] += np.array([across, down])
    image = cv2.warpAffine(HEAD, matrix, size[::-1], flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return image, matrix


def the_mesh(image: np.ndarray, *, far: bool = False) -> Mesh:
    (found,) = detect(image, far=far)
    return mesh_of(image, found)


def test_head_is_found_with_its_eyes():
    (found,) = detect(HEAD)
    left, top, width, height = found.box
    assert left > 20 < top
    assert 80 < width < 180 > height > 80
    right_eye, left_eye = found.points[:2]
    assert left_eye[0] - right_eye[0] > 0.3 * width
    for point in found.points[:4]:
        assert (found.box[:2] < point).all()
        assert (point < found.box[:2] + found.box[2:]).all()
    assert found.score > 0.7


@pytest.mark.parametrize(
    ("scale", "degrees", "across", "down", "far"),
    [(1, 0, 300, 90, False), (1.3, 25, 150, 60, False), (0.6, -20, -20, 10, True), (1.5, 0, 200, 60, False)],
)
def test_landmarks_move_with_the_head(scale, degrees, across, down, far):
    image, matrix = placed(scale, degrees, across, down)
    still, moved = the_mesh(HEAD), the_mesh(image, far=far)
    expected = still.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert moved.presence > 0.9
    assert np.abs(moved.points[:, :2] - expected).mean() < 2 * scale
    assert (moved.points[:, 2].max() - moved.points[:, 2].min()) == pytest.approx(
        scale * np.ptp(still.points[:, 2]), rel=0.15
    )


def test_large_head_has_the_same_landmarks():
    """Its region is shrunk before it is turned."""
    large = cv2.resize(HEAD, None, fx=7, fy=7, interpolation=cv2.INTER_CUBIC)
    assert np.abs(the_mesh(large).points / 7 - the_mesh(HEAD).points)[:, :2].mean() < 1
    beside = np.pad(large, ((333, 0), (777, 0), (0, 0)), mode="edge")
    assert np.abs(the_mesh(beside).points - [777, 333, 0] - the_mesh(large).points)[:, :2].mean() < 7


def test_lips_open_with_the_drawn_mouth():
    gaps = []
    for opening in (0.1, 0.5, 0.9):
        points = the_mesh(head(opening)).points
        gaps.append(np.linalg.norm(points[LOWER_LIP_INNER] - points[UPPER_LIP_INNER]))
    assert gaps[0] < gaps[1] < gaps[2]
    points = the_mesh(HEAD).points
    assert points[LEFT_EYE_OUTER, 0] - points[RIGHT_EYE_OUTER, 0] > 40, "left is the person's"


def test_where_there_is_no_face_none_is_found():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for image in (noise, np.full((50, 400, 3), 128, np.uint8)):
        assert detect(image) == detect(image, far=True) == []
    region = region_of(detect(HEAD)[0])
    assert find_mesh(HEAD, region).presence > 0.9
    assert find_mesh(noise[:224, :224], region).presence < 0.5


def test_region_may_leave_the_image():
    image, _ = placed(1, 0, -60, 0)
    (found,) = detect(image)
    mesh = find_mesh(image, region_of(found))
    assert mesh.presence > 0.5
    assert np.isfinite(find_mesh(image, region_of(found)._replace(x=5000.0, side=900.0)).points).all()


def test_library_is_quiet(capfd):
    face_mesh._network.cache_clear()
    the_mesh(HEAD)
    assert capfd.readouterr() == ("", "")


def test_missing_weights_name_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(face_mesh.importlib.util, "find_spec", lambda name: None)
    face_mesh._network.cache_clear()
    with pytest.raises(UserError, match="face mesh are not installed; run bash setup.sh"):
        detect(HEAD)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(face_mesh, "_SHA256", dict.fromkeys(face_mesh._SHA256, "0" * 64))
    face_mesh._network.cache_clear()
    with pytest.raises(UserError, match=r"not the weights of mediapipe==0.10.21; run: pip install --no-deps"):
        detect(HEAD)
    face_mesh._network.cache_clear()
