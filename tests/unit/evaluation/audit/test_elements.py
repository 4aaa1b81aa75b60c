"""Audits of elements: cues, and leaks planted in a store."""

import numpy as np
import pytest

from avdfd.baselines.vfd_folder import VfdFolder
from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_wav
from avdfd.evaluation.audit import audits
from avdfd.evaluation.audit.elements import frame_statistics, look_at
from avdfd.evaluation.audit.leaks import find_leaks
from tests.helpers.audit_corpus import corpus, fading_frames, speech, write_store
from tests.unit.baselines.test_vfd_folder import add


def split(store, test=("id8", "id9")):
    metas = list(store.metas)
    return {
        "train": (store, [meta for meta in metas if meta.identities[0] not in test]),
        "test": (store, [meta for meta in metas if meta.identities[0] in test]),
    }


def test_looks_are_at_the_ends_of_a_clip(tmp_path):
    rng = np.random.default_rng(0)
    silent_end = speech(rng)
    silent_end[-8_000:] = 0
    store = write_store(tmp_path, [("id1", "RVRA", "1", [speech(rng, 0.25), silent_end], fading_frames(rng))])
    (look,) = look_at(store, store.metas, workers=0)
    assert look.clip.cues["edge_silence"] == pytest.approx(0.75, abs=0.02)
    assert look.clip.cues["covered"] == pytest.approx(4.096)
    assert look.clip.cues["spectral_edge"] == 8_000
    assert (look.clip.tier, look.clip.identities) == ("RVRA", ("id1",))
    assert len(look.picture_hash) == 32
    assert len(look.sound_hash) == 64


def test_a_short_clip_is_looked_at_once(tmp_path):
    """It is repeated for models only: the silence at its end is not within a repetition."""
    audio = speech(np.random.default_rng(0))[: 640 * 50]
    audio[-8_000:] = 0
    clip = dict.fromkeys(("source", "base", "sha256"), "a.mp4") | {"tier": "RVRA", "identities": ["id1"]}
    with ElementWriter(tmp_path, {}) as writer:
        writer.add(clip, [{"start": 0.0, "end": 2.0, "parts": {"wav": encode_wav(audio, 16_000)}}])
    store = ElementStore(tmp_path)
    (look,) = look_at(store, store.metas, workers=0)
    assert look.clip.cues["edge_silence"] == pytest.approx(0.5, abs=0.02)
    assert look.clip.cues["covered"] == 2


def test_loader_processes_give_the_same_in_the_same_order(tmp_path):
    store = corpus(tmp_path)
    alone, shared = look_at(store, store.metas, workers=0), look_at(store, store.metas, workers=2)
    assert [look.sound_hash for look in alone] == [look.sound_hash for look in shared]


def test_frame_statistics_depend_on_noise_and_not_on_content():
    rng = np.random.default_rng(0)
    one, other = (np.kron(rng.integers(0, 256, (7, 7, 3)), np.ones((32, 32, 1))).astype(np.uint8) for _ in range(2))
    noisy = np.clip(one + rng.normal(0, 10, one.shape), 0, 255).astype(np.uint8)
    spectra = [frame_statistics(frame)[6:22] for frame in (one, other, noisy)]
    assert frame_statistics(one).shape == (30,)
    assert spectra[2][-1] > spectra[0][-1] + 1
    assert abs(spectra[1][-1] - spectra[0][-1]) < 1


def test_clean_corpus_has_neither_shortcut_nor_leak(tmp_path):
    found = audits.of_elements(split(corpus(tmp_path)), workers=0)
    assert not any(one["shortcut"] for one in found["probes"]["elements"]["RVFA"].values())
    assert list(found["probes"]["elements"]["RVFA"]) == [
        "covered", "loudness", "edge_silence", "spectral_edge", "first_frame", "identity",
    ]  # fmt: skip
    assert found["leaks"] == []
    assert found["clips"] == {"train": 16, "test": 4}


def test_planted_silence_is_caught(tmp_path):
    found = audits.of_elements(split(corpus(tmp_path, lead=0.3)), workers=0)
    caught = {cue for cue, one in found["probes"]["elements"]["RVFA"].items() if one["shortcut"]}
    assert "edge_silence" in caught
    assert caught <= {"edge_silence", "loudness"}  # of what is silent in part


def test_planted_copy_under_another_name_is_caught(tmp_path):
    (leak,) = audits.of_elements(split(corpus(tmp_path, copy=True)), workers=0)["leaks"]
    assert leak["kind"] == "picture+sound"
    assert leak["splits"] == ["test", "train"]
    assert [path.split("/")[3] for path in leak["clips"]] == ["id0", "id9"]


def test_planted_identity_and_source_clip_are_caught(tmp_path):
    store = corpus(tmp_path)
    looks = {name: look_at(*part, workers=0) for name, part in split(store).items()}
    moved = looks["test"][0]
    looks["train"].append(moved._replace(source="other.mp4", sha256="0" * 64, sound_hash=None, picture_hash=None))
    leaks = find_leaks(looks)
    assert {(leak.kind, leak.what) for leak in leaks} == {("identity", "id8"), ("source clip", moved.clip.base)}
    assert all(set(leak.clips) >= {"other.mp4", moved.source} for leak in leaks)


WAVEFORM_CUES = ["loudness", "edge_silence", "spectral_edge"]


@pytest.mark.parametrize(
    ("keep", "probed", "missing"),
    [
        (("wav", "mel.npy"), ["covered", *WAVEFORM_CUES, "identity"], {"first_frame": "frames"}),
        (("mel.npy",), ["covered", "identity"], dict.fromkeys(WAVEFORM_CUES, "waveforms") | {"first_frame": "frames"}),
        (("mel.npy", "mjpeg"), ["covered", "first_frame", "identity"], dict.fromkeys(WAVEFORM_CUES, "waveforms")),
    ],
)
def test_probe_whose_input_is_not_stored_is_left_out_by_name(tmp_path, keep, probed, missing):
    found = audits.of_elements(split(corpus(tmp_path, keep=keep)), workers=0)
    assert list(found["probes"]["elements"]["RVFA"]) == probed
    reasons = {cue: f"needs {what}; the elements have none" for cue, what in missing.items()}
    assert found["left_out"]["elements"] == {"RVFA": reasons}
    prints = {f"fingerprint of the {'audio' if 'wav' not in keep else 'video'}"} if keep != ("mel.npy",) else {
        "fingerprint of the audio", "fingerprint of the video",
    }  # fmt: skip
    assert {name: set(of) for name, of in found["left_out"]["leaks"].items()} == {"train": prints, "test": prints}


def test_folder_of_images_is_probed_by_what_it_has(tmp_path):
    for number in range(4):
        for name, shade in (("real", 60), ("fake", 90)):
            add(tmp_path, f"{name}/{name}{number}.jpg", f"audio_feat/{name}{number}.npy", shade + 7 * number)
    folder = VfdFolder(tmp_path)
    found = audits.of_elements({"test": (folder, folder.metas)}, workers=0)
    assert {"covered", "first_frame"} <= set(found["probes"]["elements"]["FAKE"])
    assert set(found["left_out"]["elements"]["FAKE"]) >= set(WAVEFORM_CUES)


def test_requests_that_cannot_be_met_are_refused_before_any_work(tmp_path):
    rng = np.random.default_rng(0)
    one = write_store(tmp_path / "one", [("id1", t, "1", [speech(rng)], fading_frames(rng)) for t in ("RVRA", "RVFA")])
    with pytest.raises(UserError, match="probes need clips of two identities"):
        audits.check(one, None)
    store = corpus(tmp_path / "many")
    audits.check(store, None)
    with pytest.raises(UserError, match=r"00001\.mp4: no such file; --probes takes the root"):
        audits.check(store, str(tmp_path / "videos"))
