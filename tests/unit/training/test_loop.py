"""Settings for speed and memory change neither what is learned nor the keys of a checkpoint."""

from functools import partialmethod

import pytest
import torch
from torch import nn

from avdfd.config import SpeedConfig
from avdfd.training import loop
from tests.helpers.models import small_two_branch

CPU = torch.device("cpu")


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return small_two_branch(visual_depth=2, predictor_depth=2, predictor_dropout=0.3, synchrony=True)


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return torch.randn(3, 128, 768), torch.randn(3, 3, 16, 32, 32)


def step(model, clips):
    """Outputs and gradients of a training step, with the same dropout every time."""
    model.train().zero_grad()
    torch.manual_seed(2)
    out = model(*clips)
    sum(x.sum() for x in out if x.requires_grad).backward()
    return [*(x.detach() for x in out), *(p.grad for p in model.parameters() if p.grad is not None)]


@torch.inference_mode()
def scores(model, clips):
    return model.eval()(*clips).logit_final.clone()


def test_checkpointing_changes_no_bit(detector, clips):
    before = [x.clone() for x in step(detector, clips)]
    loop.speed_up(detector, SpeedConfig(checkpointing=True), CPU, "bf16")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        after = step(detector, clips)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    less = sum(kept)
    loop.speed_up(detector, SpeedConfig(), CPU, "bf16")
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        step(detector, clips)
    assert less < sum(kept) / 2


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_layers_compute_the_same(detector, clips, checkpointing, monkeypatch):
    """In training and in validation, and a checkpoint of the one is a checkpoint of the other."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    torch._dynamo.reset()
    keys = list(detector.state_dict())
    plain = [x.clone() for x in step(detector, clips)]
    plain_scores = scores(detector, clips)
    loop.speed_up(detector, SpeedConfig(compile=True, checkpointing=checkpointing), CPU, "bf16")
    torch._dynamo.utils.counters.clear()
    for a, b in zip(plain, step(detector, clips), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores(detector, clips), plain_scores, rtol=1e-4, atol=1e-5)
    assert list(detector.state_dict()) == keys
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "something has been compiled"


def test_tf32_is_used_on_request_only(detector):
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for precision, matmul, conv in (("fp32", False, False), ("tf32", True, True), ("bf16", False, True)):
            loop.speed_up(detector, SpeedConfig(), torch.device("cuda"), precision)
            assert [backend.allow_tf32 for backend in backends] == [matmul, conv], precision
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value
