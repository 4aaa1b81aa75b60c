"""Clips in folders of VFD's format."""

import os
import pickle
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.baselines.vfd_inputs import _filters_2022, normalise_2022, normalise_mel_2022
from avdfd.core.errors import UserError
from avdfd.models.vfd import VoiceFace
from tests.helpers.vfd import make_dfdc, make_voxceleb
from tests.paths import VFD_SAMPLE

sample_only = pytest.mark.skipif(not VFD_SAMPLE.is_dir(), reason="the authors' sample is not here")


def add(root, face, voice, shade=100, size=224):
    """A pair of a uniformly grey image and a constant mel."""
    for path in (root / face, root / voice):
        path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.full((size, size, 3), shade, np.uint8)
    grey[..., 0] = 0  # blue, as OpenCV orders colours
    cv2.imwrite(str(root / face), grey)
    np.save(root / voice, np.full((512, 301), -shade / 10, np.float32))


@pytest.fixture
def voxceleb(tmp_path):
    for identity, video, clip, shade in (
        ("id2", "v-1", "00009", 60),
        ("id1", "a_b", "00001", 90),
        ("id2", "v-1", "00002", 120),
    ):
        add(tmp_path, f"face/{identity}/{video}/{clip}.jpg", f"voice/{identity}_{video}_{clip}.npy", shade)
    return tmp_path


@pytest.fixture
def dfdc(tmp_path):
    add(tmp_path, "real/abc.jpg", "audio_feat/abc.npy", 60, size=100)
    add(tmp_path, "fake/xyz.jpg", "audio_feat/xyz.npy", 90)
    return tmp_path


def test_voxceleb_layout(voxceleb):
    folder = VfdFolder(voxceleb)
    assert is_vfd_folder(voxceleb)
    assert [meta.source for meta in folder.metas] == [
        "face/id1/a_b/00001.jpg",
        "face/id2/v-1/00002.jpg",
        "face/id2/v-1/00009.jpg",
    ]
    assert len(folder) == 3
    assert [meta.identities for meta in folder.metas] == [("id1",), ("id2",), ("id2",)]
    assert [meta.base for meta in folder.metas] == ["face/id1/a_b", "face/id2/v-1", "face/id2/v-1"]
    first = folder.metas[0]
    assert (first.tier, first.label, first.label_video, first.label_audio) == ("RVRA", 0, 0, 0)
    assert (first.start, first.end) == (0.0, 3.0)
    assert len({meta.sha256 for meta in folder.metas}) == 3
    assert folder.index[folder.metas[2].key] == 2


def test_dfdc_layout(dfdc):
    folder = VfdFolder(dfdc)
    assert is_vfd_folder(dfdc)
    labels = {meta.source: (meta.tier, meta.label, meta.label_audio, meta.identities) for meta in folder.metas}
    assert labels == {
        "real/abc.jpg": ("RVRA", 0, 0, ("abc",)),
        "fake/xyz.jpg": ("FAKE", 1, None, ("xyz",)),
    }


@pytest.mark.parametrize("layout", ["voxceleb", "dfdc"])
def test_reading_gives_the_pair_of_the_key(layout, request):
    folder = VfdFolder(request.getfixturevalue(layout))
    for meta in folder.metas:
        element = folder.read(meta.key, frames=[38])
        assert element.meta == meta
        assert element.waveform is None
        assert element.mel.shape == (512, 301)
        assert element.mel.dtype == np.float32
        assert element.frames.shape == (1, 224, 224, 3)
        assert element.frames.dtype == np.uint8
        shade = round(-10 * float(element.mel[0, 0]))
        colour = element.frames[0, 100, 100].astype(int)
        assert np.abs(colour - [shade, shade, 0]).max() <= 3
    only_mel, only_face = folder.read(meta.key), folder.read(meta.key, mel=False, frames=[0])
    assert only_mel.frames is None
    assert only_face.mel is None


def test_a_folder_can_be_sent_to_loader_processes(dfdc):
    folder = pickle.loads(pickle.dumps(VfdFolder(dfdc)))
    assert folder.read("real/abc.jpg").mel[0, 0] == -6


def test_hidden_files_are_ignored(dfdc):
    (dfdc / "real" / "._abc.jpg").write_bytes(b"")
    assert len(VfdFolder(dfdc)) == 2


def test_other_folders_are_refused(tmp_path):
    assert not is_vfd_folder(tmp_path)
    with pytest.raises(UserError, match="is not a VFD folder; one has face/ and voice/, or audio_feat/ beside real/"):
        VfdFolder(tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        VfdFolder(tmp_path / "nowhere")
    (tmp_path / "real").mkdir()
    assert not is_vfd_folder(tmp_path)
    (tmp_path / "audio_feat").mkdir()
    assert is_vfd_folder(tmp_path)
    with pytest.raises(UserError, match="no clips; expected face/<identity>"):
        VfdFolder(tmp_path)
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"no clips; .* \(real/a.jpg: a face without a voice: audio_feat/a.npy is missing"
    ):
        VfdFolder(tmp_path)


def test_every_file_that_is_no_clip_is_listed(voxceleb):
    (voxceleb / "voice" / "id2_v-1_00002.npy").unlink()
    np.save(voxceleb / "voice" / "id9_v_00001.npy", np.zeros(1))
    (voxceleb / "voice" / "notes.txt").write_text("x")
    (voxceleb / "face" / "id1" / "shallow.jpg").write_bytes(b"x")
    (voxceleb / "face" / "id1" / "a_b" / "other.png").write_bytes(b"x")
    (voxceleb / "face" / "id1" / "a_b" / "broken.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(voxceleb / "face" / "id1" / "a_b" / "pipe.jpg")
    folder = VfdFolder(voxceleb)
    assert [meta.source for meta in folder.metas] == ["face/id1/a_b/00001.jpg", "face/id2/v-1/00009.jpg"]
    assert folder.left_out == [
        ("face/id1/a_b/broken.jpg", "no .jpg file"),
        ("face/id1/a_b/other.png", "no .jpg file"),
        ("face/id1/a_b/pipe.jpg", "a FIFO, not a file"),
        ("face/id1/shallow.jpg", "not at face/<identity>/<video>/<clip>.jpg"),
        ("face/id2/v-1/00002.jpg", "a face without a voice: voice/id2_v-1_00002.npy is missing"),
        ("voice/id9_v_00001.npy", "a voice without a face"),
        ("voice/notes.txt", "no .npy file"),
    ]
    with pytest.raises(UserError, match=r"7 files are no clips, e.g. face/id1/a_b/broken.jpg: .* to left_out.csv"):
        folder.check_complete()


def test_links_are_followed_but_not_in_circles(tmp_path, voxceleb):
    linked = tmp_path / "linked"
    (linked / "face").mkdir(parents=True)
    (linked / "face" / "id2").symlink_to(voxceleb / "face" / "id2")
    (linked / "voice").symlink_to(voxceleb / "voice")
    (linked / "face" / "again").symlink_to(linked / "face")
    store = VfdFolder(linked)
    assert [meta.identities for meta in store.metas] == [("id2",), ("id2",)]
    assert ("face/again", "a link to a folder that contains it; it was not entered") in store.left_out


def test_a_folder_of_data_sets(tmp_path):
    make_voxceleb(tmp_path / "Voxceleb2", ["id1"])
    make_dfdc(tmp_path / "DFDC", ["r"], ["f"])
    (tmp_path / "DFDC" / "audio_feat" / "spare.npy").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    folder = VfdFolder(tmp_path)
    assert is_vfd_folder(tmp_path)
    assert [(meta.source, meta.tier, meta.base, meta.identities) for meta in folder.metas] == [
        ("DFDC/fake/f.jpg", "FAKE", "DFDC/fake/f.jpg", ("f",)),
        ("DFDC/real/r.jpg", "RVRA", "DFDC/real/r.jpg", ("r",)),
        ("Voxceleb2/face/id1/video/00000.jpg", "RVRA", "Voxceleb2/face/id1/video", ("id1",)),
        ("Voxceleb2/face/id1/video/00001.jpg", "RVRA", "Voxceleb2/face/id1/video", ("id1",)),
    ]
    assert folder.left_out == [("DFDC/audio_feat/spare.npy", "a voice without a face")]
    assert folder.read("DFDC/fake/f.jpg", frames=[0]).mel.shape == (512, 301)


def test_identities_in_the_names_of_clips(tmp_path):
    make_dfdc(tmp_path, ["id00012_7"], ["id00012_id00034_wavtolip", "plain"])
    assert [meta.identities for meta in VfdFolder(tmp_path).metas] == [
        ("id00012", "id00034"),
        ("plain",),
        ("id00012",),
    ]


def test_a_table_states_identities_tiers_and_source_clips(tmp_path):
    make_dfdc(tmp_path, ["r", "unlisted"], ["f"])
    rows = [
        "file,tier,identity,base,split",
        "real/r.jpg,RVRA,ann,,train",
        "fake/f.jpg,FVFA,ann;bob,real/r.jpg,test",
        "real/gone.jpg,RVRA,cat,,",
    ]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows))
    folder = VfdFolder(tmp_path)
    assert [(meta.source, meta.tier, meta.identities, meta.base) for meta in folder.metas] == [
        ("fake/f.jpg", "FVFA", ("ann", "bob"), "real/r.jpg"),
        ("real/r.jpg", "RVRA", ("ann",), "real/r.jpg"),
    ]
    assert folder.left_out == [
        ("real/gone.jpg", "listed in clips.csv, but there is no such image"),
        ("real/unlisted.jpg", "not listed in clips.csv"),
    ]
    table.write_text("file,tier\nfake/f.jpg,RVRA\n")
    with pytest.raises(UserError, match=r"clips.csv: 'fake/f.jpg' is RVRA in another folder"):
        VfdFolder(tmp_path)


def test_any_audio_is_read_as_the_mel(dfdc):
    element = VfdFolder(dfdc).read("real/abc.jpg", waveform=True, mel=False)
    assert element.waveform is None
    assert element.mel.shape == (512, 301)


class Trap:
    """A pickle of this runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def header(text):
    """Return an .npy with a header and without data."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def voices(tmp_path):
    """Damaged files by the kind of damage."""
    good = tmp_path / "good.npy"
    np.save(good, np.zeros((512, 301), np.float32))
    whole = good.read_bytes()
    np.save(tmp_path / "object.npy", np.array([[Trap(tmp_path / "sprung")]]), allow_pickle=True)
    return {
        "empty": b"",
        "no array": b"not an array",
        "header cut": whole[:60],
        "header damaged": whole.replace(b", }", b", (", 1),
        "data cut": whole[:-1000],
        "length of 4 GB": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + whole[10:],
        "nested": header("-" * 9000 + "1"),
        "no key": header("{[]: 1}"),
        "shape of bools": header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 1)}"),
        "shape beyond integers": header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 30 + ",)}"),
        "pickle": pickle.dumps(Trap(tmp_path / "sprung")),
        "pickled array": (tmp_path / "object.npy").read_bytes(),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        *("empty", "no array", "header cut", "header damaged", "data cut", "pickle", "pickled array"),
        *("length of 4 GB", "nested", "no key", "shape of bools", "shape beyond integers"),
    ],
)
def test_damaged_mels_are_named_and_run_no_code(dfdc, wrong):
    (dfdc / "audio_feat" / "abc.npy").write_bytes(voices(dfdc)[wrong])
    with pytest.raises(UserError, match=r"abc.npy: not a complete .npy of plain numbers .*; recreate it"):
        VfdFolder(dfdc).read("real/abc.jpg")
    assert not (dfdc / "sprung").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((301, 512), np.float32), r"holds float32 \(301, 512\), not the float \(512, 301\)"),
        (np.zeros((512, 301), np.int16), r"holds int16 \(512, 301\)"),
        (np.full((512, 301), np.nan, np.float32), "holds non-finite numbers"),
        (np.full((512, 301), 1e300), "holds non-finite numbers"),
        (np.zeros((2, 512, 301), np.float32), r"holds float32 \(2, 512, 301\)"),
    ],
)
def test_other_mels_are_refused(dfdc, array, message):
    np.save(dfdc / "audio_feat" / "abc.npy", array)
    with pytest.raises(UserError, match=message):
        VfdFolder(dfdc).read("real/abc.jpg")


@pytest.mark.parametrize("keep", [0, 20, -200])
def test_damaged_images_are_named(dfdc, keep):
    path = dfdc / "fake" / "xyz.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="xyz.jpg: cannot be decoded; replace the image or remove it"):
        VfdFolder(dfdc).read("fake/xyz.jpg", frames=[0])


def test_an_image_that_asks_for_gigabytes_is_not_decoded(dfdc):
    path = dfdc / "fake" / "xyz.jpg"
    data = path.read_bytes()
    place = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:place] + struct.pack(">HH", 30_000, 30_000) + data[place + 4 :])
    with pytest.raises(UserError, match=r"xyz.jpg: states 30000x30000 pixels, more than 50,000,000; replace it"):
        VfdFolder(dfdc).read("fake/xyz.jpg", frames=[0])


@sample_only
@pytest.mark.parametrize(("name", "labels"), [("Voxceleb2", [0] * 10), ("DFDC", [1] * 5 + [0] * 5)])
def test_the_authors_sample_is_read_and_scored(name, labels):
    folder = VfdFolder(VFD_SAMPLE / name)
    assert [meta.label for meta in folder.metas] == labels
    elements = [folder.read(meta.key, frames=[0]) for meta in folder.metas]
    mels = torch.stack([normalise_mel_2022(torch.from_numpy(element.mel)) for element in elements])[:, None]
    faces = torch.stack([torch.from_numpy(element.frames[0]).permute(2, 0, 1) for element in elements])
    torch.manual_seed(0)
    model = VoiceFace(year=2022, dim=64, depth=1, heads=2, mlp_dim=32, width=0.25).eval()
    with torch.no_grad():
        voice, face = model(mels, normalise_2022(faces))
        distance = model.distance(voice, face)
    assert distance.shape == (10,)
    assert distance.isfinite().all()
    assert len(set(distance.tolist())) == 10


@sample_only
@pytest.mark.parametrize("name", ["Voxceleb2", "DFDC"])
def test_the_authors_mels_are_decibels_of_our_filters(name):
    """Below 1 kHz there are more filters than spectral lines, so their powers depend on each other."""
    folder = VfdFolder(VFD_SAMPLE / name)
    filters = _filters_2022(torch.device("cpu"))[:160].double().numpy()
    for meta in folder.metas:
        mel = folder.read(meta.key).mel
        assert mel.min() == -80
        assert abs(mel.max()) < 1e-5
        power = 10 ** (mel[:160, (mel[:160] > -75).all(axis=0)].astype(float) / 10)
        lines = np.linalg.lstsq(filters, power, rcond=None)[0]
        assert np.abs(filters @ lines - power).sum() < 1e-5 * power.sum()
