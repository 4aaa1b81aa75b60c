"""Checkpoints: the newest intact one is read, or refused clearly; files of others run no code."""

import argparse
import io
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of, write_sha256
from avdfd.training import checkpoint, state_dicts
from tests.helpers.damage import FOREIGN, Bomb, flipped, torch_file

STATE = {"config": {"kind": "train"}, "model": {"w": torch.arange(1000.0)}, "rng": [(torch.get_rng_state(), None)]}


@pytest.fixture
def run(tmp_path):
    """A folder with three states saved, of which two are kept."""
    for step in (1, 2, 3):
        checkpoint.save_last(tmp_path / "run", {**STATE, "step": step}, epoch=1, step=step)
    return tmp_path / "run"


def files(run):
    return [path.name for path in checkpoint.last_files(run)]


def refused(run, kind="train", *keys):
    with pytest.raises(UserError) as error:
        checkpoint.load_last(run, kind, keys)
    return str(error.value)


def test_last_two_are_kept_and_the_newest_is_read(run):
    assert files(run) == ["last-00001-0000003.pt", "last-00001-0000002.pt"]
    assert len(os.listdir(run)) == 4, "each with its sha256"
    state, passed = checkpoint.load_last(run, "train", ("model", "step"))
    assert (state["step"], passed) == (3, [])
    assert torch.equal(state["model"]["w"], STATE["model"]["w"])


DAMAGED = {
    **FOREIGN,
    "truncated": torch_file(STATE)[:2000],
    "a bit": flipped(torch_file({**STATE, "step": 3}), 0.5),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_checkpoint_is_skipped_and_deleted_by_the_next_save(run, damage, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    newest, before = checkpoint.last_files(run)
    newest.write_bytes(DAMAGED[damage])
    state, passed = checkpoint.load_last(run, "train")
    assert (state["step"], passed) == (2, [newest])
    checkpoint.save_last(run, STATE, epoch=1, step=2)
    assert files(run) == [before.name], "the damaged one would be further, and is gone"
    assert not (tmp_path / "exploded").exists()


def test_no_intact_checkpoint_is_an_error(run):
    for path in checkpoint.last_files(run):
        path.write_bytes(path.read_bytes()[:1000])
    assert refused(run) == f"{run}: none of last-00001-0000003.pt, last-00001-0000002.pt is intact; train again"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\x00", b"0" * 64])
def test_checkpoint_without_its_sha256_is_damaged(run, content):
    newest = checkpoint.last_files(run)[0]
    digest = run / f"{newest.name}.sha256"
    digest.unlink() if content is None else digest.write_bytes(content)
    state, passed = checkpoint.load_last(run, "train")
    assert (state["step"], passed) == (2, [newest])


@pytest.mark.parametrize("name", [*FOREIGN, "truncated"])
def test_foreign_checkpoint_is_refused_and_runs_no_code(run, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    newest = checkpoint.last_files(run)[0]
    newest.write_bytes(DAMAGED[name])
    write_sha256(newest, newest.read_bytes())
    reason = "would run code to load; refused" if "bomb" in name else "not a checkpoint"
    assert reason in (message := refused(run))
    assert message.startswith(f"{newest}: ")
    assert not (tmp_path / "exploded").exists()


def test_content_of_other_runs_and_versions_is_refused(run):
    newest = checkpoint.last_files(run)[0]
    for content, reason in (
        ({"model": {}}, "not a checkpoint of this repository"),
        ({"config": {"kind": "pretrain"}}, "a checkpoint of 'pretrain', expected one of 'train'"),
        ({"config": {}}, "a checkpoint of 'None'"),
        ({"config": {"kind": "train"}, "model": {}}, "lacks 'rng', so it is of another version"),
    ):
        checkpoint.save(newest, content)
        assert reason in refused(run, "train", "model", "rng")


def test_flipped_bits_are_reported_as_damage(tmp_path):
    """Bits flipped and bytes changed anywhere, the pickle inside the archive included."""
    rng, whole = random.Random(0), torch_file({**STATE, "optimizer": {"state": {0: {"m": torch.ones(3)}}}})
    archive = zipfile.ZipFile(io.BytesIO(whole))
    path = tmp_path / "x.pt"
    for _ in range(300):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as file:
            for name in archive.namelist():
                content = bytearray(archive.read(name))
                if name.endswith("data.pkl"):
                    content[rng.randrange(len(content))] = rng.randrange(256)
                file.writestr(name, bytes(content))
        path.write_bytes(data.getvalue())
        try:
            state_dicts.read_weights(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_objects_of_training_libraries_become_placeholders(tmp_path):
    path = tmp_path / "published.pt"
    settings = argparse.Namespace(lr=1e-3, nested=[argparse.Namespace()])
    torch.save({"model": {"a": torch.ones(2)}, "args": settings, "best": np.float64(0.5)}, path)
    content = state_dicts.read_weights(path)
    assert torch.equal(content["model"]["a"], torch.ones(2))
    assert not vars(content["args"])


def test_own_checkpoints_admit_no_placeholders(run):
    checkpoint.save_last(run, {**STATE, "args": argparse.Namespace(lr=1e-3)}, epoch=2, step=0)
    assert "would run code" in refused(run)


def test_code_in_objects_of_libraries_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(x=Bomb())}, path)
    with pytest.raises(UserError, match="would run code"):
        state_dicts.read_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_failed_write_leaves_the_previous_files(run, monkeypatch):
    before = {path: path.read_bytes() for path in run.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_last(run, STATE, epoch=2, step=0)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_weights_are_read_from_both_formats(tmp_path):
    weights = {"a": torch.ones(2)}
    torch.save(weights, tmp_path / "plain.pt")
    save_file(weights, tmp_path / "w.safetensors")
    for name in ("plain.pt", "w.safetensors"):
        assert torch.equal(state_dicts.read_weights(tmp_path / name)["a"], weights["a"])


def test_sha256_is_checked(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(2)}, path)
    good = sha256_of(path)
    assert "a" in state_dicts.read_weights(path, sha256=good)
    with pytest.raises(UserError, match=f"sha256 is {good}, the config expects 00"):
        state_dicts.read_weights(path, sha256="00")
    with pytest.raises(UserError, match="no such file"):
        state_dicts.read_weights(tmp_path / "none", sha256=good)


def test_damaged_safetensors_and_other_content_are_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        state_dicts.read_weights(tmp_path / "w.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no state dict"):
        state_dicts.read_weights(tmp_path / "list.pt")
