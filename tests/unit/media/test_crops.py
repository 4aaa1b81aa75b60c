import numpy as np
import pytest

from avdfd.media.crops import crop, square
from avdfd.media.video import ArrayFrame


def ramp(height: int, width: int) -> np.ndarray:
    """Return an image whose red channel encodes the column and whose green channel the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 250 // width
    image[..., 1] = (np.arange(height) * 250 // height)[:, None]
    return image


def middle_of(image: np.ndarray, height: int, width: int) -> tuple[float, float]:
    return float(image[..., 0].mean()) * width / 250, float(image[..., 1].mean()) * height / 250


@pytest.mark.parametrize(
    ("box", "centre"),
    [
        ([130, 80, 60, 50], (160, 105)),  # inside: centred on the face
        ([0, 80, 60, 50], (45, 105)),  # at the edge: moved inside
        ([100, 20, 180, 180], (190, 120)),  # larger than the frame: its full height
    ],
)
def test_crop_is_a_square_inside_the_frame(box, centre):
    image = ramp(240, 320)
    out = crop(ArrayFrame(image, 0, 0.04), square(image.shape, np.array(box, float), margin=1.5))[..., ::-1]
    assert out.shape == (224, 224, 3)
    assert middle_of(out, 240, 320) == pytest.approx(centre, abs=2.5)


@pytest.mark.parametrize("side", [100, 300, 600])
def test_crop_keeps_the_mean_at_any_scale(side):
    image = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)
    out = crop(ArrayFrame(image, 0, 0.04), square(image.shape, np.array([20.0, 20, side, side]), margin=1.0))
    assert out.mean() == pytest.approx(image[20 : 20 + side, 20 : 20 + side].mean(), abs=3)
