"""Signatures: the first bytes of real files of many formats, and of files that are no media."""

import cv2
import numpy as np
import pytest

from avdfd.core.signatures import HEAD, read_signature, signature_of
from avdfd.elements.form import encode_wav
from tests.helpers.recordings import clicks, record
from tests.helpers.videos import write

VIDEOS = {
    **{"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264", "m2ts": "libx264"},
    **{"mpg": "mpeg2video", "flv": "libx264", "wmv": "wmv2", "webm": "libvpx", "3gp": "libx264", "nut": "mpeg4"},
}
AUDIO = {
    **{"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "aac": "aac", "m4a": "aac", "aiff": "pcm_s16be"},
    **{"w64": "pcm_s16le", "caf": "pcm_s16le", "au": "pcm_s16be", "ac3": "ac3", "tta": "tta", "wv": "wavpack"},
}
JPEG = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
OTHERS = {
    "empty": b"",
    "short": b"\xff",
    "text": b"The free text of a moving image\n" * 20,
    "UTF-16": "file,label\na.mp4,real\n".encode("utf-16") * 20,
    "JSON": b'{"ftyp": 1}',
    "zeros": bytes(HEAD),
    "JPEG": JPEG,
    "PNG": PNG,
    "HEIC": b"\0\0\0\x24ftypheic" + bytes(80),
    "WebP": b"RIFF\0\1\0\0WEBPVP8 " + bytes(80),
    "array": b"\x93NUMPY\1\0v\0{'descr': '<f4'}",
    "ZIP": b"PK\3\4" + bytes(80),
    "playlist": b"#EXTM3U\n#EXTINF:9,\na.ts\n",
}


@pytest.mark.parametrize("form", VIDEOS)
def test_containers_of_video(form, tmp_path):
    path = write(tmp_path / f"a.{form}", [{"codec": VIDEOS[form], "count": 5}], [])
    assert read_signature(path.rename(tmp_path / "bare")) == "media"


@pytest.mark.parametrize("form", AUDIO)
def test_formats_of_audio(form, tmp_path):
    path = record(tmp_path / f"a.{form}", [], clicks(0.5, 44_100, [0.2]), audio_codec=AUDIO[form])
    assert read_signature(path.rename(tmp_path / "bare")) == "audio"


def test_audio_without_tags_and_in_containers(tmp_path):
    mp3 = record(tmp_path / "a.mp3", [], clicks(0.5, 44_100, [0.2]), audio_codec="libmp3lame").read_bytes()
    size = sum(part << 7 * place for place, part in enumerate(reversed(mp3[6:10])))
    assert (mp3[:3], signature_of(mp3[10 + size :][:HEAD])) == (b"ID3", "audio")
    for name, codec in (("a.mp4", "aac"), ("a.ogg", "libopus"), ("a.mka", "pcm_s16le")):
        path = record(tmp_path / name, [], clicks(0.5, 48_000, [0.2]), rate=48_000, audio_codec=codec)
        assert read_signature(path) == "media"
    assert signature_of(encode_wav(np.zeros(9, np.float32), 16_000)[:HEAD]) == "audio"


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_have_no_signature(kind, tmp_path):
    (tmp_path / "a").write_bytes(OTHERS[kind])
    assert read_signature(tmp_path / "a") == ""


def test_what_cannot_be_read_has_no_signature(tmp_path):
    (tmp_path / "link").symlink_to("nothing")
    assert [read_signature(tmp_path / name) for name in ("link", "gone", ".")] == ["", "", ""]
