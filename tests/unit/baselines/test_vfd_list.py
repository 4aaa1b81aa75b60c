"""Images in lists of VFD 2023's format."""

import pickle

import numpy as np
import pytest

from avdfd.baselines.vfd_list import VfdList, is_vfd_list
from avdfd.core.errors import UserError
from avdfd.elements.form import mel_of
from avdfd.media.audio import read_waveform
from tests.helpers.vfd import make_list

REAL = "RealVideo-RealAudio/African/women/id00001"
FAKE = "FakeVideo-FakeAudio/African/women/id00001"


def facts(images):
    names = {meta.key.partition("/face/")[2]: meta for meta in images.metas}
    return {name: (meta.tier, meta.identities, meta.base.partition("/face/")[2]) for name, meta in names.items()}


def test_fakeavceleb(tmp_path):
    labels = {f"{REAL}/00028_00014": 0, f"{REAL}/00028_00099": 0, f"{FAKE}/00239_2_id00633_wavtolip_00007": 3}
    path = make_list(tmp_path, labels)
    assert is_vfd_list(path)
    images = VfdList(path)
    assert (len(images), images.left_out) == (3, [])
    assert facts(images) == {
        f"{REAL}/00028_00014.jpg": ("RVRA", ("id00001",), f"{REAL}/00028"),
        f"{REAL}/00028_00099.jpg": ("RVRA", ("id00001",), f"{REAL}/00028"),
        f"{FAKE}/00239_2_id00633_wavtolip_00007.jpg": (
            "FVFA",
            ("id00001", "id00633"),
            f"{FAKE}/00239_2_id00633_wavtolip",
        ),
    }


def test_dfdc(tmp_path):
    images = VfdList(make_list(tmp_path, {"abc/abc_00006": 1, "abc/abc_00012": 1, "xyz/xyz_00001": 0}))
    assert facts(images) == {
        "abc/abc_00006.jpg": ("FAKE", ("abc",), "abc/abc"),
        "abc/abc_00012.jpg": ("FAKE", ("abc",), "abc/abc"),
        "xyz/xyz_00001.jpg": ("RVRA", ("xyz",), "xyz/xyz"),
    }


@pytest.mark.parametrize("seconds", [4.0, 1.5])
def test_reading(tmp_path, seconds):
    images = pickle.loads(pickle.dumps(VfdList(make_list(tmp_path, {"abc/abc_00006": 1}, seconds))))
    key = images.metas[0].key
    element = images.read(key, waveform=True, frames=[38])
    whole = read_waveform(tmp_path / "voice" / "abc" / "abc_00006.wav")
    assert element.waveform.shape == (49_152,)
    np.testing.assert_array_equal(element.waveform, np.tile(whole, 3)[:49_152])  # short audio is repeated
    np.testing.assert_array_equal(element.mel, mel_of(element.waveform))
    assert element.frames.shape == (1, 224, 224, 3)
    assert images.read(key, mel=False, frames=None).waveform is None


def test_paths_are_relative_to_the_working_folder(tmp_path, monkeypatch):
    path = make_list(tmp_path, {"abc/abc_00006": 1})
    path.write_text("./face/abc/abc_00006.jpg 1\n")
    with pytest.raises(UserError, match=r"none of its 1 images can be used, .* no such image; paths are relative to"):
        VfdList(path)
    monkeypatch.chdir(tmp_path)
    assert VfdList(path).metas[0].key == "face/abc/abc_00006.jpg"


def test_images_that_are_no_clips_are_listed(tmp_path):
    path = make_list(tmp_path, {"a/a_1": 1, "b/b_1": 0, "c/c_1": 0})
    (tmp_path / "voice" / "b" / "b_1.wav").unlink()
    (tmp_path / "face" / "c" / "c_1.jpg").unlink()
    with path.open("a") as file:
        file.write(f"\n{tmp_path}/face/a/a_1.jpg 1\n{tmp_path}/other/d.jpg 0\n")
    images = VfdList(path)
    assert [reason.partition(":")[0] for _, reason in images.left_out] == [
        "a face without a voice",
        "no such image",
        "listed twice",
        "not in a folder face/",
    ]
    assert [meta.key for meta in images.metas] == [f"{tmp_path}/face/a/a_1.jpg"]
    with pytest.raises(UserError, match=r"frames.txt: 4 files are no clips, e.g. .*b_1.jpg: a face without a voice"):
        images.check_complete()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "none of its 0 images can be used"),
        (b"face/a.jpg\n", "line 1: expected the path of an image, a space and a label"),
        (b"\n\nface/a.jpg -1\n", "line 3: expected the path"),
        (b"face/a.jpg 99999999\n", "line 1: expected the path"),
        (b"face/a.jpg 1\xff\n", "cannot be read as a list of images"),
        (b"face/a.jpg 2\n", r"line 1: label 2, but no folder names its tier; .* \(identities are no labels here\)"),
        (b"face/RealVideo-RealAudio/a.jpg 1\n", "line 1: label 1, but its folder is RealVideo-RealAudio; 0 is real"),
    ],
)
def test_wrong_lists_are_named(tmp_path, content, problem):
    path = tmp_path / "frames.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem):
        VfdList(path)


def test_damaged_voices_are_named(tmp_path):
    images = VfdList(make_list(tmp_path, {"a/a_1": 1}, seconds=0.5))
    with pytest.raises(UserError, match=r"a_1.wav: shorter than a second; remove its line"):
        images.read(images.metas[0].key, waveform=True)
    (tmp_path / "voice" / "a" / "a_1.wav").write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"a_1.wav: .*; replace it, or remove its line from the list"):
        images.read(images.metas[0].key, waveform=True)
