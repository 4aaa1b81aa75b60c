"""Opening of media files: kinds of files, formats, and the ceilings on their contents."""

import os
import re
import socket
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.core.errors import MediaError
from avdfd.corpora.inventory import examine
from avdfd.evaluation.audit.files import measure
from avdfd.media import ceilings
from avdfd.media.audio import AudioPiece, join_pieces, read_audio
from avdfd.media.container import open_media
from avdfd.media.mux import encode_mp4
from avdfd.media.video import read_video
from tests.helpers.boxes import TONE, alias, audio_track, box, chunk, quicktime, video_track, wav
from tests.helpers.videos import make_video
from tests.paths import ROOT, SHARED

RATE = 16_000
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090"
    "7753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n"
REFUSED = {
    "concat": "ffconcat version 1.0\nfile near.mp4\n",
    "concat of itself": "ffconcat version 1.0\nfile a.mp4\n",
    "concat of an address": "ffconcat version 1.0\nfile http://127.0.0.1:1/a.mp4\n",
    "HLS": HLS.format("near.mp4"),
    "HLS of an absolute path": HLS.format("file:///etc/passwd"),
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1"><BaseURL>near.mp4</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "RTSP": "RTSPtext\nrtsp://127.0.0.1:1/a\n",
    "ASX": "[Reference]\nRef1=http://127.0.0.1:1/a\n",
    "AviSynth": 'AviSource("near.mp4")\n',
    "IMF": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2013"/>',
    "VobSub": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:04,000\nhello\n\n2\n00:00:05,000 --> 00:00:06,000\nhello\n",
    "FFmpeg's metadata": ";FFMETADATA1\ntitle=x\n[CHAPTER]\nSTART=0\nEND=1\n",
    "SVG": '<svg xmlns="http://www.w3.org/2000/svg"><image href="near.mp4"/></svg>',
    "text": "hello world\n" * 100,
}


@pytest.fixture(scope="module")
def near(tmp_path_factory) -> Path:
    """A video that hostile files beside it refer to."""
    return make_video(tmp_path_factory.mktemp("near") / "near.mp4", 1.0)


def refusal(path: Path) -> str:
    """Return the reason why the audio and the video of a file are not read."""
    reasons = set()
    videos = (partial(read_video, path, decoder) for decoder in ("pyav", "decord"))
    for read in (lambda: read_audio(path, video=False), *(lambda video=video: list(video()) for video in videos)):
        with pytest.raises(MediaError) as error:
            read()
        reasons.add(str(error.value))
    (reason,) = reasons
    return reason


@pytest.mark.parametrize("kind", REFUSED)
def test_no_file_makes_another_one_open(kind, near):
    path = near.with_name("a.mp4")
    path.write_text(REFUSED[kind])
    assert refusal(path) in ("not a media file", "of a format that is not read (docs/data.md)")


@pytest.mark.parametrize("name", ["a.mp4", "%03d.png", "*.png"])
def test_images_are_no_videos(name, tmp_path):
    for place in (name, "001.png", "002.png"):
        (tmp_path / place).write_bytes(PNG)
    assert refusal(tmp_path / name) == "of a format that is not read (docs/data.md)"


def test_a_reference_to_another_file_is_not_followed(tmp_path):
    """QuickTime may say that its samples are in another file."""
    (tmp_path / "near.raw").write_bytes(bytes(24) + TONE * 80)
    for reference in (alias(f"{tmp_path}/near.raw"), alias("near.raw")):
        made = quicktime(audio_track(b"sowt", RATE), b"soun", b"", samples=8000, size=2, reference=reference)
        (tmp_path / "a.mov").write_bytes(made)
        with pytest.raises(MediaError, match="no audio could be decoded"):
            read_audio(tmp_path / "a.mov", video=False)
    (tmp_path / "a.mov").write_bytes(quicktime(audio_track(b"sowt", RATE), b"soun", TONE * 80, samples=8000, size=2))
    assert len(read_audio(tmp_path / "a.mov", video=False)[0].samples) == 8000


def test_only_regular_files_are_opened(tmp_path):
    """A FIFO without a writer would wait for ever, /dev/zero would never end."""
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "gone.mp4").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        reasons = {path.name: refusal(path) for path in tmp_path.iterdir()}
    assert reasons == {
        "fifo.mp4": "a FIFO, not a file",
        "folder.mp4": "a folder, not a file",
        "zero.mp4": "a device, not a file",
        "gone.mp4": "no such file",
        "socket.mp4": "a socket, not a file",
    }
    assert examine(tmp_path / "fifo.mp4").error == "cannot be read (a FIFO, not a file)"


@pytest.mark.parametrize("rate", [1, 3_999, 1_000_000, 2**31 - 1])
def test_absurd_sample_rates(rate, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(TONE * 80, rate))
    for read in (lambda path: read_audio(path, video=False), measure):
        with pytest.raises(MediaError, match=f"{rate} samples a second; 4000 to 768000 are read"):
            read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [4_000, 768_000])
def test_usual_sample_rates(rate, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(TONE * 800, rate))
    assert read_audio(tmp_path / "a.wav", video=False)[0].end == pytest.approx(80_000 / rate, abs=1e-3)


@pytest.mark.parametrize(("channels", "reason"), [(65, "65 audio channels; 1 to 64"), (65_535, "no audio could be")])
def test_many_channels(channels, reason, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(bytes(2 * channels * 20), RATE, channels))
    with pytest.raises(MediaError, match=reason):
        read_audio(tmp_path / "a.wav", video=False)


def test_64_channels_are_read(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(np.repeat(np.frombuffer(TONE * 320, "<i2"), 64).tobytes(), RATE, 64))
    (piece,) = read_audio(tmp_path / "a.wav", video=False)
    np.testing.assert_allclose(piece.samples, np.frombuffer(TONE * 320, "<i2") / 2**15, atol=1e-3)


def test_frames_with_too_many_pixels(tmp_path):
    made = quicktime(video_track(b"rle ", 16_000, 16_000), b"vide", bytes(96), samples=3, size=32, duration=640)
    (tmp_path / "a.mov").write_bytes(made)
    with pytest.raises(MediaError, match="no frame could be decoded, or frames have more than 40,000,000 pixels"):
        list(read_video(tmp_path / "a.mov", "pyav"))
    ceilings.check_frame(7680, 4320)
    ceilings.check_frame(0, 0)
    for width, height, aspect in [(8_000, 8_000, 1), (20_000, 10, 1), (10, 20_000, 1), (8_000, 4_000, 2)]:
        with pytest.raises(MediaError, match="frames of"):
            ceilings.check_frame(width, height, aspect)


def test_pixels_of_an_absurd_shape(tmp_path):
    """One that is 30,000 times as wide as high would ask for 6 GB a frame."""
    entry = video_track(b"rle ", 256, 256, extra=box(b"pasp", struct.pack(">II", 30_000, 1)))
    (tmp_path / "a.mov").write_bytes(quicktime(entry, b"vide", bytes(96), samples=3, size=32, duration=640))
    with pytest.raises(MediaError, match="pixels with sides of 30000 to 1"):
        list(read_video(tmp_path / "a.mov", "pyav"))


def test_thousands_of_tracks(tmp_path):
    made = quicktime(audio_track(b"sowt", RATE), b"soun", TONE * 80, samples=8000, size=2)
    movie, track = made.index(b"moov") - 4, made.index(b"trak") - 4
    many = made[:movie] + box(b"moov", made[movie + 8 : track], made[track:] * 2000)
    (tmp_path / "a.mov").write_bytes(many)
    with pytest.raises(MediaError, match="cannot be decoded"):
        read_audio(tmp_path / "a.mov", video=False)


def test_audio_that_expands_or_lasts_too_long(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:  # a constant takes 17 bytes per block
        stream = container.add_stream("flac", rate=4_000, layout="mono", options={"frame_size": "16384"})
        frame = av.AudioFrame.from_ndarray(np.full((1, 4_000 * 610), 9_000, np.int16), "s16", "mono")
        frame.rate = 4_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert path.stat().st_size < 12_000
    with pytest.raises(MediaError, match="longer than 10 minutes, .* 1 kbit/s"):
        read_audio(path, video=False)
    monkeypatch.setattr(ceilings, "_FREE_SECONDS", 700.0)
    assert read_audio(path, video=False)[0].end == pytest.approx(610, abs=2)
    monkeypatch.setattr(ceilings, "SECONDS", 300.0)
    with pytest.raises(MediaError, match="longer than 5 minutes"):
        read_audio(path, video=False)


def test_gap_of_years_is_not_filled():
    pieces = [AudioPiece(0, np.ones(160, np.float32)), AudioPiece(1e9, np.ones(160, np.float32))]
    with pytest.raises(MediaError, match="longer than 240 minutes"):
        join_pieces(pieces, pieces[-1].end)


def test_frame_of_another_year_is_not_written():
    images = [(0.0, np.zeros((16, 16, 3), np.uint8)), (1e15, np.zeros((16, 16, 3), np.uint8))]
    with pytest.raises(MediaError, match="longer than 240 minutes"):
        encode_mp4(images, np.ones(1600, np.float32), start=0.0, rate=RATE, bit_rate=64_000)


def test_tags_in_another_encoding(tmp_path):
    """Old programs wrote them in the encoding of their country; PyAV would refuse the file."""
    tags = chunk(b"LIST", b"INFO" + chunk(b"INAM", "Müller".encode("latin-1")))
    (tmp_path / "a.wav").write_bytes(wav(TONE * 160, RATE, extra=tags))
    assert len(read_audio(tmp_path / "a.wav", video=False)[0].samples) == RATE
    with open_media(tmp_path / "a.wav") as container:
        assert container.metadata == {"title": "M\ufffdller"}


def peak_of(path: Path) -> float:
    """Return the most memory in MB of a process that reads the audio of a file."""
    code = (
        "import sys; from pathlib import Path; from avdfd.media.audio import read_audio\n"
        "from avdfd.core.errors import MediaError\n"
        "try: read_audio(sys.argv[1], video=False)\n"
        "except MediaError: pass\n"
        "print(Path('/proc/self/status').read_text())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    facts = dict(line.split(":", 1) for line in done.stdout.splitlines() if line)
    return int(facts["VmHWM"].split()[0]) / 1024


def test_small_file_does_not_cost_much_memory(tmp_path):
    """240 kB at one sample a second asked for 8 GB."""
    made = wav(TONE * 1200, 1)
    (tmp_path / "a.wav").write_bytes(made[:4] + struct.pack("<I", 2**32 - 16) + made[8:])
    assert peak_of(tmp_path / "a.wav") < 200


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the cases are not here")
def test_hostile_cases():
    folder = SHARED / "cases" / "20-hostile"
    assert {refusal(path) for path in folder.glob("concat_*.mp4")} == {"of a format that is not read (docs/data.md)"}
    assert peak_of(folder / "rate1.wav") < 200


def test_files_are_opened_in_one_place():
    """Elsewhere, PyAV is given bytes that were made here, or writes."""
    for path in sorted([*ROOT.glob("*.py"), *(ROOT / "avdfd").rglob("*.py"), *(ROOT / "data").rglob("*.py")]):
        for call in re.findall(r"\bav\.open\(\s*(.{20})", path.read_text()):
            assert path.name == "container.py" or call.startswith(("io.BytesIO(", 'buffer, "w", ')), f"{path}: {call}"
        assert "cv2.VideoCapture" not in path.read_text(), path
