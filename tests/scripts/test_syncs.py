"""A training step never waits for the GPU: losses are read later."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

import pretrain
import train
from avdfd.config import PretrainConfig, TrainConfig, parse
from avdfd.training.optim import adamw
from avdfd.training.precision import autocast
from avdfd.training.state import Training
from tests.helpers.models import small_audio_net, small_two_branch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda")
COMMON = {"name": "test", "data": {"splits": "none", "fake_tiers": ["RVFA"]}}


@pytest.fixture
def no_waiting():
    """Forbid waiting, to be called after a first step, which may wait to set things up."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def take(training, model, loss):
    loss.backward()
    norm = clip_grad_norm_(model.parameters(), 1.0)
    training.step({"loss": loss.detach()}, norm, [], None)


def training_of(cfg, model):
    """Return a `Training` that never saves and reads no losses before 16 steps."""
    world = SimpleNamespace(size=1, first=False, device=GPU)
    stop = SimpleNamespace(asked=False)
    return Training(cfg, world, None, model, adamw([(model.parameters(), 1.0)], cfg.optim), stop)


def test_stage_1_does_not_wait_for_the_gpu(no_waiting):
    cfg = parse({**COMMON, "model": {"projection_dim": 8}}, PretrainConfig, "test")
    model = small_audio_net().to(GPU)
    training = training_of(cfg, model)
    mel, label = torch.randn(4, 128, 768, device=GPU), torch.tensor([0.0, 1.0, 1.0, 1.0], device=GPU)
    classes = torch.arange(4, device=GPU)
    for step in range(3):
        if step == 2:
            no_waiting()
        with autocast(GPU, "bf16"):
            out = model(mel)
        take(training, model, pretrain.stage1_loss(cfg, out.z, out.logit, label, classes, model.prototype))


def test_stage_2_does_not_wait_for_the_gpu(no_waiting):
    cfg = parse({**COMMON, "audio": "none"}, TrainConfig, "test")
    model = small_two_branch().to(GPU)
    training = training_of(cfg, model)
    mel, video = torch.randn(2, 128, 768, device=GPU), torch.zeros(2, 3, 16, 32, 32, dtype=torch.uint8, device=GPU)
    label, fake_modalities = torch.tensor([0.0, 1.0], device=GPU), torch.tensor([[0.0, 0.0], [1.0, 0.0]], device=GPU)
    for step in range(3):
        if step == 2:
            no_waiting()
        with autocast(GPU, "bf16"):
            out = model(mel, video)
        take(training, model, train.stage2_loss(cfg, out, label, fake_modalities))
