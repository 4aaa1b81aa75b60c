"""Squares of frames: those that are converted from a part of the planes have the pixels of the whole frame."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from avdfd.media.conversion import FrameConverter

# Width, height and left, top, side of a square.
PARTS = [
    (256, 256, 40, 61, 120),
    (512, 288, 101, 33, 150),
    (512, 512, 1, 3, 333),
    (290, 512, 131, 300, 159),  # up to the right edge, whose last columns swscale treats in another way
    (292, 512, 0, 0, 77),
    (1920, 1080, 1500, 659, 420),  # in the corner
    (512, 170, 171, 0, 170),  # as high as the frame
]


def noise(width: int, height: int, form: str = "yuv420p", seed: int = 0) -> av.VideoFrame:
    """Frame of random samples."""
    frame = av.VideoFrame(width, height, form)
    for plane in frame.planes:
        plane.update(np.random.default_rng(seed).integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
    return frame


def converter(frame: av.VideoFrame, aspect: Any = None) -> FrameConverter:
    stream = SimpleNamespace(
        time_base=Fraction(1, 25), sample_aspect_ratio=aspect, width=frame.width, height=frame.height
    )
    return FrameConverter(stream)


def is_of_the_whole(ways: FrameConverter, frame: av.VideoFrame, matrix: Any, left: int, top: int, side: int) -> bool:
    found = ways.square(frame, matrix, left, top, side)
    assert found.shape == (side, side, 3)
    whole = ways.array(frame, "bgr24", matrix)
    return np.array_equal(found, whole[top : top + side, left : left + side])


@pytest.mark.parametrize(("width", "height", "left", "top", "side"), PARTS)
@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p"])
def test_a_part_has_the_pixels_of_the_whole_frame(width, height, left, top, side, form, monkeypatch):
    frame = noise(width, height, form)
    ways = converter(frame)
    whole = ways.array(frame, "bgr24", None)
    monkeypatch.setattr(ways, "array", None)  # the whole frame is not converted
    assert np.array_equal(ways.square(frame, None, left, top, side), whole[top : top + side, left : left + side])


def test_successive_parts_are_of_their_own_frames():
    ways = converter(noise(512, 512))
    frames = [noise(512, 512, seed=seed) for seed in range(3)]
    frames[1].colorspace, frames[2].color_range = 1, 2  # BT.709, full range
    squares = [ways.square(frame, None, 60 + number, 80, 200) for number, frame in enumerate(frames)]
    for number, (frame, square) in enumerate(zip(frames, squares, strict=True)):
        left = 60 + number
        assert np.array_equal(square, converter(frame).array(frame, "bgr24", None)[80:280, left : left + 200])


@pytest.mark.parametrize("form", ["yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray", "rgb24"])
def test_other_pixel_formats(form):
    frame = noise(256, 256, form)
    assert is_of_the_whole(converter(frame), frame, None, 33, 21, 100)


@pytest.mark.parametrize(("width", "height", "side"), [(255, 256, 90), (256, 255, 90), (256, 256, 250), (40, 600, 40)])
def test_odd_sides_and_parts_as_large_as_the_frame(width, height, side):
    frame = noise(width, height)
    assert is_of_the_whole(converter(frame), frame, None, width - side, height - side, side)


def test_other_aspects_and_turned_frames():
    frame = noise(320, 240)
    assert is_of_the_whole(converter(frame, Fraction(4, 3)), frame, None, 200, 11, 90)
    turned = np.array([[0, 1], [-1, 0]]) << 16
    assert is_of_the_whole(converter(frame), frame, turned, 120, 200, 90)


def test_interlaced_frames(tmp_path):
    """Their fields are converted apart, with rows of chroma of their own."""
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg2video", 25, options={"flags": "+ilme+ildct", "top": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for packet in [*stream.encode(noise(320, 240)), *stream.encode(None)]:
            file.mux(packet)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
    assert frame.interlaced_frame
    assert is_of_the_whole(converter(frame), frame, None, 101, 51, 90)
