"""Checkpoint files are whole, harmless and of the right kind."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avdfd import checkpoint
from avdfd.errors import UserError
from avdfd.files import sha256_of


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run" / "best.pt"
    checkpoint.save(path, {"config": {"kind": "train"}, "model": {"w": torch.arange(1000.0)}})
    return path


def test_round_trip(saved):
    assert torch.equal(checkpoint.load(saved, "train")["model"]["w"], torch.arange(1000.0))
    assert sorted(os.listdir(saved.parent)) == ["best.pt", "best.pt.sha256"]


def test_other_kind(saved):
    with pytest.raises(UserError, match="a checkpoint of 'train', here one of 'pretrain' is wanted"):
        checkpoint.load(saved, "pretrain")


def test_truncated(saved):
    saved.write_bytes(saved.read_bytes()[:2000])
    with pytest.raises(UserError, match="truncated or not a checkpoint"):
        checkpoint.load(saved, "train")


@pytest.mark.parametrize("content", [b"", b"hello", b'{"kind": "train"}'])
def test_not_a_checkpoint(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not a checkpoint"):
        checkpoint.load(path, "train")


def test_missing_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "x.pt", "train")
    with pytest.raises(UserError, match="a folder"):
        checkpoint.load(tmp_path, "train")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))):
        path = tmp_path / "bomb.pt"
        write({"config": {"kind": "train"}, "x": Bomb()}, path)
        with pytest.raises(UserError, match="would run code"):
            checkpoint.load(path, "train")
    assert not (tmp_path / "exploded").exists()


def test_settings_of_training_libraries_are_let_in_as_empty_shells(tmp_path):
    path = tmp_path / "published.pt"
    settings = argparse.Namespace(lr=1e-3, nested=[argparse.Namespace()])
    torch.save({"model": {"a": torch.ones(2)}, "args": settings, "best": np.float64(0.5)}, path)
    content = checkpoint.read_weights(path)
    assert torch.equal(content["model"]["a"], torch.ones(2))
    assert not vars(content["args"])
    with pytest.raises(UserError, match="would run code"):
        checkpoint.load(path, "train")  # our own files have none


def test_code_inside_such_settings_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(x=Bomb())}, path)
    with pytest.raises(UserError, match="would run code"):
        checkpoint.read_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_a_failed_write_leaves_the_former_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(saved, {"config": {"kind": "train"}, "model": {}})
    assert saved.read_bytes() == before
    assert sorted(os.listdir(saved.parent)) == ["best.pt", "best.pt.sha256"]


def test_weights_from_both_formats(tmp_path):
    weights = {"a": torch.ones(2)}
    torch.save(weights, tmp_path / "plain.pt")
    save_file(weights, tmp_path / "w.safetensors")
    for name in ("plain.pt", "w.safetensors"):
        assert torch.equal(checkpoint.read_weights(tmp_path / name)["a"], weights["a"])


def test_sha256_is_checked(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(2)}, path)
    good = sha256_of(path)
    assert "a" in checkpoint.read_weights(path, sha256=good)
    with pytest.raises(UserError, match=f"sha256 is {good}, the config expects 00"):
        checkpoint.read_weights(path, sha256="00")
    with pytest.raises(UserError, match="no such file"):
        checkpoint.read_weights(tmp_path / "none", sha256=good)


def test_damaged_safetensors_and_other_content(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        checkpoint.read_weights(tmp_path / "w.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no state dict"):
        checkpoint.read_weights(tmp_path / "list.pt")
