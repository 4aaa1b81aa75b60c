import base64

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.cloning.recordings import ELSEWHERE, digest, mean_vector, real_clips, recordings_of, references

FOLDER = "RealVideo-RealAudio/African/men"
RNG = np.random.default_rng(0)


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_other_layouts_and_names_are_refused(tmp_path):
    for name, message in (
        ("missing", "no such folder"),
        ("real/a.mp4", "has no RealVideo-RealAudio"),
        ("RealVideo-RealAudio/a.txt", "no video files"),
        ("RealVideo-RealAudio/id1/00001.mp4", "expected RealVideo-RealAudio/<race>/<gender>/<identity>/<clip>"),
        (f"{FOLDER}/id1/clip.mp4", "begins with a number"),
    ):
        root = tmp_path / message.replace("/", "_")
        if name != "missing":
            files(root, name)
        with pytest.raises(UserError, match=message):
            real_clips(root)
    files(tmp_path / "twins", f"{FOLDER}/id1/00001.mp4", f"{FOLDER}/id1/00001_b.mp4")
    with pytest.raises(UserError, match="the same identity and number"):
        real_clips(tmp_path / "twins")


def test_recordings_include_those_of_another_root(tmp_path):
    root = files(tmp_path / "in", f"{FOLDER}/id1/00001.mp4", f"{FOLDER}/id1/00002.mp4", f"{FOLDER}/id2/00001.mp4")
    more = files(tmp_path / "vox", "dev/id1/abc/00003.m4a", "dev/id3/abc/00003.m4a", "dev/id1/abc/notes.txt")
    clips, _ = real_clips(root)
    assert [r.source for r in recordings_of(clips, None)["id1"]] == [f"{FOLDER}/id1/0000{n}.mp4" for n in (1, 2)]
    found = recordings_of(clips, more)
    assert [r.source for r in found["id1"]][-1] == f"{ELSEWHERE}dev/id1/abc/00003.m4a"
    assert [r.path for r in found["id2"]] == [root / FOLDER / "id2" / "00001.mp4"]
    before = digest(found["id1"])
    assert digest(found["id1"]) == before != digest(found["id1"][:2])
    files(tmp_path / "vox", "dev/id1/abc/00003.m4a").joinpath("dev/id1/abc/00003.m4a").write_bytes(b"other")
    assert digest(found["id1"]) != before
    with pytest.raises(UserError, match="no recordings of these identities"):
        recordings_of(clips, files(tmp_path / "other", "id9/a.wav"))
    with pytest.raises(UserError, match="no such folder; `recordings`"):
        recordings_of(clips, tmp_path / "nowhere")


def voice(source, vector, fingerprint, sha256=None):
    unit = (np.array(vector) / np.linalg.norm(vector)).astype(np.float32)
    return {
        "source": source,
        "sha256": sha256 or source,
        "sound_hash": fingerprint.hex(),
        "embedding": base64.b64encode(unit.tobytes()).decode(),
    }


def test_references_are_the_most_similar_without_near_duplicates():
    own, near, other = (RNG.bytes(64) for _ in range(3))
    same = bytes([own[0] ^ 1, *own[1:]])
    a = voice("a", [1, 0], own)
    voices = [
        a, voice("same bytes", [1, 0], other, sha256="a"), voice("same audio", [1, 0], same),
        voice("far", [0, 1], near), voice("near", [1, 0.1], other), voice("next", [1, 0.2], near),
    ]  # fmt: skip
    assert [v["source"] for v in references(a, voices, 2)] == ["near", "next"]
    assert [v["source"] for v in references(a, voices, 9)] == ["near", "next", "far"]
    assert references(a, voices[:3], 2) == []
    assert np.allclose(mean_vector([a, voices[3]]), 0.5**0.5)
