"""Weights from outside: what is no plain model of finite values is refused before a model takes it."""

import json
import math
import resource
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avdfd.baselines import released
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, write_sha256
from avdfd.inference.runs import load_run
from avdfd.training import state_dicts
from avdfd.training.build import load_audio_net
from tests.helpers.damage import torch_file
from tests.helpers.runs import make_run


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def state():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).state_dict()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("0.weight", torch.full((3, 4), math.nan), "'0.weight' has values that are not finite"),
        ("1.running_var", torch.tensor([1.0, math.inf, 1.0]), "'1.running_var' has values that are not finite"),
        ("0.weight", torch.zeros(3, 4).to_sparse(), "'0.weight' is no dense tensor"),
        ("0.weight", torch.zeros(3, 4, device="meta"), "'0.weight' is no dense tensor"),
        ("0.weight", [[0.0] * 4] * 3, "'0.weight' is no dense tensor"),
        ("0.weight", torch.zeros(3, 4, dtype=torch.int64), "has other types for 1 of 7 keys, e.g. '0.weight'"),
        ("1.num_batches_tracked", torch.tensor(1.0), "has other types for 1 of 7 keys, e.g. '1.num_batches_tracked'"),
        ("0.weight", torch.zeros(3, 5), "has other shapes for 1 of 7 keys, e.g. '0.weight'"),
    ],
)
def test_forged_tensors_are_refused_before_any_is_loaded(key, value, reason):
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=f"file: .*{reason}"):
        state_dicts.fill(module, {**state(), key: value}, "file")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_large_finite_values_and_other_precisions_are_loaded():
    module = nn.Linear(4, 3)
    state_dicts.fill(module, {"weight": torch.full((3, 4), 3e38), "bias": torch.ones(3).half()}, "file")
    assert (module.weight == 3e38).all()
    assert (module.bias == 1).all()


def test_archive_that_expands_is_refused(tmp_path):
    path, stored = tmp_path / "bomb.pt", tmp_path / "stored.pt"
    stored.write_bytes(torch_file({"w": torch.zeros(1 << 18)}))
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"bomb.pt: \d+ bytes that expand to \d+; not written by torch.save, refused"):
        state_dicts.read_weights(path)
    assert state_dicts.read_weights(stored)["w"].shape == (1 << 18,)


def test_views_that_expand_a_few_bytes_are_refused():
    one = torch.zeros(1000)
    for tensors in ({"w": torch.zeros(1).expand(1 << 40)}, {str(number): one[:] for number in range(9)}):
        with pytest.raises(UserError, match="file: '.' expands to more than the file has; refused"):
            state_dicts.unwrap(tensors, "file")
    assert len(state_dicts.unwrap({"a": one, "b": one}, "file")) == 2


def test_published_weights_that_are_not_finite_are_not_converted(tmp_path):
    torch.save({"state_dict": {"a": torch.tensor([1.0, math.nan])}}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="'a' has values that are not finite"):
        released.convert(tmp_path / "w.pt", tmp_path / "out" / "w.safetensors", "mrdf-ce")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "sizes", [{"dim": 1 << 20}, {"mlp_dim": 1 << 40}, {"depth": 10**9}, {"projection_dim": 1 << 30}]
)
def test_sizes_in_a_header_are_compared_with_the_file_before_a_model_is_built(tmp_path, sizes):
    path = make_run(tmp_path, "pretrain") / BEST
    facts = json.loads(path.with_suffix(".json").read_text())
    del facts["sha256"]
    facts["audio_model"] |= sizes
    facts["config"]["model"] |= sizes
    save_file(load_file(path), path, metadata={"avdfd": json.dumps(facts)})
    write_sha256(path, path.read_bytes())
    started = peak_memory()
    for load in (load_audio_net, load_run):
        with pytest.raises(UserError, match=r"best.safetensors: (its header states|not a checkpoint of this model)"):
            load(path.parent)
    assert peak_memory() - started < 200e6
