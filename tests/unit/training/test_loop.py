"""Settings for speed and memory change neither what is learned nor the keys of a checkpoint."""

import gc
import weakref
from functools import partialmethod
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avdfd.config import SpeedConfig
from avdfd.core.errors import UserError
from avdfd.training import loop
from avdfd.training.distributed import World
from OpenAVFF.stack import Stack
from tests.helpers.models import small_two_branch

CPU, GPU = torch.device("cpu"), torch.device("cuda")


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


@pytest.mark.parametrize("key", ["compile", "checkpointing"])
def test_what_changes_transformer_layers_is_refused_without_any(key):
    model = nn.Sequential(nn.Linear(2, 2), Stack())
    with pytest.raises(UserError, match=f"^speed.{key}: this model has no transformer layers; leave it out$"):
        loop.speed_up(model, SpeedConfig.model_validate({key: True}), CPU, "fp32")
    loop.speed_up(model, SpeedConfig(), CPU, "fp32")


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


# ---- garbage collection


class Garbage:
    """An object in a reference cycle, which only the collector frees."""

    def __init__(self, freed):
        self.itself = self
        weakref.finalize(self, freed.append, 1)


@pytest.fixture
def progress():
    return SimpleNamespace(step=0, last_loss=None)


def run_steps(batches, progress):
    return loop.steps(batches, 100, progress, World(CPU))


def test_garbage_is_collected_on_schedule(progress, monkeypatch):
    """Not by Python's thresholds, but every so many steps, and at the end of an epoch."""
    monkeypatch.setattr(loop, "COLLECT_EVERY", 3)
    before, freed, seen = gc.get_threshold(), [], []
    gc.set_threshold(1, 1, 1)
    try:
        for number in run_steps(range(7), progress):
            assert not gc.isenabled()
            seen.append(len(freed))
            if number < 6:
                Garbage(freed)
            progress.step += 1
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
    assert seen == [0, 0, 0, 3, 3, 3, 6]
    assert len(freed) == 6


def test_what_was_there_before_an_epoch_is_searched_after_it(progress):
    freed: list[int] = []
    Garbage(freed)
    for _ in run_steps(range(2), progress):
        assert gc.get_freeze_count() > 0
    assert not freed
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert freed == [1]


def test_an_epoch_that_is_left_leaves_the_collector_on(progress):
    steps = run_steps(range(7), progress)
    next(steps)
    assert not gc.isenabled()
    steps.close()
    assert gc.isenabled()
    gc.disable()
    try:
        assert list(run_steps(range(2), progress)) == [0, 1]
        assert not gc.isenabled(), "as it was"
    finally:
        gc.enable()


# ---- CUDA graphs


@pytest.mark.parametrize("key", ["compile", "checkpointing"])
def test_graphs_exclude_other_ways_to_compile(key):
    with pytest.raises(ValueError, match=f"graphs compiles the model as a whole, without speed.{key}"):
        SpeedConfig.model_validate({"graphs": True, key: True})


@pytest.mark.parametrize(
    ("world", "micro_batch", "text"),
    [
        (World(CPU), 0, "CUDA graphs need a GPU, and this run uses the cpu"),
        (World(GPU, 0, 2), 0, "needs one process, not 2"),
        (World(GPU), 4, "needs whole batches"),
    ],
)
def test_graphs_without_effect_are_refused(detector, world, micro_batch, text):
    with pytest.raises(UserError, match=f"speed.graphs: {text}"):
        loop.graphed(detector, SpeedConfig(graphs=True), world, micro_batch=micro_batch)
    assert loop.graphed(detector, SpeedConfig(), world, micro_batch=micro_batch) is detector


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs need one")
def test_graphs_take_the_steps_of_the_model(clips):
    """Three steps of training with other inputs in each, and a validation between them."""
    losses = []
    for graphs in (False, True):
        torch.manual_seed(0)
        model = small_two_branch(visual_depth=2, predictor_depth=2, predictor_dropout=0.0).to(GPU)
        net = loop.graphed(model, SpeedConfig(graphs=graphs), World(GPU))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        found = []
        for number in range(6):
            out = net(*(x.to(GPU) + number for x in clips))
            loss = out.logit_final.float().square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.detach().clone())
            if number == 2:
                scores(model, [x.to(GPU) for x in clips])
                model.train()
        losses.append(torch.stack(found).cpu())
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
