"""Frames as they are shown: all eight display matrices, and sizes and pixel formats that change within a file."""

import gc
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.elements import unpack
from avdfd.media import face_mesh, faces
from avdfd.media.conversion import fit_of
from avdfd.media.crops import Square, own_square
from avdfd.media.video import ArrayFrame, read_video
from avdfd.media.windows import extract
from avdfd.report.overlay import Story, overlay
from tests.helpers.recordings import record
from tests.helpers.videos import make_video

# Rows a, b and c, d of the matrix, and the four corners of the image as they are shown, in order of reading.
MATRICES = [
    ((1, 0, 0, 1), "0123"),
    ((-1, 0, 0, 1), "1032"),
    ((1, 0, 0, -1), "2301"),
    ((-1, 0, 0, -1), "3210"),
    ((0, 1, -1, 0), "2031"),
    ((0, -1, 1, 0), "1302"),
    ((0, 1, 1, 0), "0213"),
    ((0, -1, -1, 0), "3120"),
]
CORNERS = (20, 90, 160, 230)


def corners() -> np.ndarray:
    """Image (64, 96, 3) whose quarters have the grey levels of CORNERS."""
    image = np.zeros((64, 96, 3), np.uint8)
    for number, grey in enumerate(CORNERS):
        image[32 * (number // 2) :, 48 * (number % 2) :] = grey
    return image


@pytest.mark.parametrize(("matrix", "order"), MATRICES)
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_every_display_matrix_is_followed(matrix, order, decoder, tmp_path):
    path = record(tmp_path / "a.mp4", [0, 0.04, 0.08], None, size=(64, 96), images=[corners()] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frame = next(read_video(path, decoder))
    image = frame.rgb()
    assert image.shape[:2] == ((64, 96) if matrix[0] else (96, 64))
    assert frame.gray().shape == image.shape[:2]
    height, width = image.shape[0] // 4, image.shape[1] // 4
    found = [image[y, x].mean() for y in (height, 3 * height) for x in (width, 3 * width)]
    assert "".join(str(int(np.abs(np.array(CORNERS) - value).argmin())) for value in found) == order


def write_changing(path: Path, sizes, formats=("yuv420p", "yuv420p"), seconds=4.0) -> Path:
    """Write a video whose second half has another size (H, W): a white square on grey, in the same place of both."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        video = container.add_stream("mjpeg" if path.suffix == ".avi" else "libx264", rate=25)
        video.height, video.width = sizes[0]
        video.pix_fmt, video.options = formats[0], {"bf": "0"}
        packets = []
        for half, ((height, width), form) in enumerate(zip(sizes, formats, strict=True)):
            coder = av.CodecContext.create("libx264", "w")
            coder.height, coder.width, coder.pix_fmt, coder.options = height, width, form, {"bf": "0"}
            coder.time_base, coder.framerate = Fraction(1, 25), Fraction(25)
            image = np.full((height, width, 3), 90, np.uint8)
            image[height // 4 : height // 2, width // 2 : width // 2 + height // 4] = 235
            for number in range(round(seconds * 25 / 2)):
                frame = av.VideoFrame.from_ndarray(image).reformat(format=form)
                frame.pts, frame.time_base = number + half * round(seconds * 25 / 2), Fraction(1, 25)
                packets += coder.encode(frame)
            packets += coder.encode()
        for packet in packets:
            packet.stream = video
            container.mux(packet)
        noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, round(16_000 * seconds))).astype(np.float32)
        piece = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        piece.rate = 16_000
        for packet in audio.encode(piece) + audio.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("sizes", [((240, 320), (120, 160)), ((120, 160), (240, 320)), ((240, 320), (320, 240))])
def test_boxes_are_in_the_frames_own_coordinates(sizes, tmp_path, monkeypatch):
    """The square is found where it is in every frame, and the crop shows it and nothing else."""

    def find_mesh(image, region):
        rows, columns = np.nonzero(image[..., 1] > 180)
        points = np.zeros((face_mesh.POINTS, 3))
        points[:, 0] = np.linspace(columns.min(), columns.max() + 1, len(points))
        points[:, 1] = np.linspace(rows.min(), rows.max() + 1, len(points))
        return face_mesh.Mesh(points, 1.0)

    found = face_mesh.Detection(np.array([0, 0, 9, 9]), np.zeros((6, 2)), 1.0)
    monkeypatch.setattr(faces, "detect", lambda image, far, min_score: [found])
    for module in (face_mesh, faces):
        monkeypatch.setattr(module, "find_mesh", find_mesh)
    path = write_changing(tmp_path / "a.ts", sizes)
    frames = list(read_video(path, "pyav"))
    assert {frame.rgb().shape[:2] for frame in frames} == {*sizes}
    assert {frame.gray().shape for frame in frames} == {sizes[0]}
    assert {frame.framed().shape[:2] for frame in frames} == {sizes[0]}
    if sizes[1] == sizes[0][::-1]:
        return  # its square is elsewhere, and another track
    media = MediaConfig(face={"margin": 1.08, "detect_fps": 25})
    shown = unpack(extract(path, media)[0]["parts"]).frames[:, 20:-20, 20:-20].mean(axis=(1, 2, 3))
    assert shown.min() > 215


def test_square_is_moved_into_a_frame_of_other_proportions():
    frame = ArrayFrame(np.zeros((320, 240, 3), np.uint8), 0.0, 0.04)
    assert own_square(frame, Square(10, 20, 30)) == Square(10, 20, 30)
    frame.fit = fit_of((320, 240), (240, 320))
    assert frame.fit is not None
    assert (frame.fit.scale, frame.fit.left, frame.fit.top) == (0.75, 70, 0)
    assert own_square(frame, Square(70, 0, 90)) == Square(0, 0, 120)
    assert own_square(frame, Square(0, 0, 240)) == Square(0, 40, 240), "within the frame"


def test_pixel_format_may_change(tmp_path):
    path = write_changing(tmp_path / "a.ts", ((240, 320), (240, 320)), ("yuv420p", "yuv444p"))
    levels = [frame.rgb()[20, 20] for frame in read_video(path, "pyav")]
    assert len(levels) == 100
    assert np.abs(np.array(levels).astype(int) - 90).max() <= 6


def test_overlay_of_frames_of_two_sizes_has_one(tmp_path):
    path = write_changing(tmp_path / "a.ts", ((240, 320), (120, 160)), seconds=1.0)
    story = Story("", [0.0], {"fused": np.array([0.5])}, 0.5, {}, None, None, None, [None], 1.0)
    (tmp_path / "b.mp4").write_bytes(overlay(path, "pyav", story))
    assert len({frame.rgb().shape for frame in read_video(tmp_path / "b.mp4", "pyav")}) == 1


def test_display_times_that_are_those_of_decoding_are_put_in_order(tmp_path):
    """As faulty programs write MP4: B-frames, but every packet is to be shown when it is decoded."""
    source, path = make_video(tmp_path / "source.mp4", 2.0, size=64), tmp_path / "a.mp4"
    with av.open(str(source)) as found, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(found.streams.video[0])
        packets = [packet for packet in found.demux(video=0) if packet.size]
        assert any(packet.pts != packet.dts for packet in packets)
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = number * 512
            packet.stream = stream
            container.mux(packet)
    frames = list(read_video(path, "pyav"))
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(50)], abs=2e-3)
    assert np.diff([frame.gray().mean() for frame in frames]).min() > 0, "in the order in which they are shown"


def test_frames_that_are_no_longer_used_are_freed_at_once(tmp_path):
    """Not by the collector of cycles, before which frames of hundreds of megabytes would gather."""
    path = make_video(tmp_path / "a.mp4", 2.0, size=64)
    gc.collect()
    gc.disable()
    try:
        count = sum(1 for _ in read_video(path, "pyav"))
        alive = sum(type(one) is av.VideoFrame for one in gc.get_objects())
    finally:
        gc.enable()
    assert (count, alive) == (50, 0)
