"""Counted operations against operations computed by hand."""

import pytest
import torch
from torch import nn

from avdfd.config import SpeedConfig
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.models.visual_encoder import VisualBranch
from avdfd.training import flops, loop
from avdfd.training.flops import peak, training_flops

CPU = torch.device("cpu")
MEL, VIDEO = torch.empty(2, 128, 768), torch.empty(2, 3, 16, 224, 224, device="meta")


def layer(n, d, hidden):
    """A transformer layer on n tokens of d: four projections, two products with the (n, n) matrix, two of the MLP."""
    return 2 * n * (4 * d * d + 2 * n * d + 2 * d * hidden)


BACKBONE = 12 * layer(1568, 768, 4 * 768)
PATCHES = 2 * 1568 * 768 * 3 * 2 * 16 * 16
AUDIO = 4 * layer(12, 512, 1024) + 2 * 12 * 8192 * 512 + 2 * (512 * 512 + 512)
# Of tokens and anchor to the predictor's width, the predictor, and the two heads.
REST = 2 * 1569 * 768 * 512 + 2 * layer(1569, 512, 1024) + 2 * 1568 * 512 * 512
HEADS = 2 * (1024 * 512 + 512) + 2 * (1538 * 512 + 512 * 2)


@pytest.fixture(scope="module")
def detector():
    audio = AudioEncoder()
    return TwoBranchDetector(audio, audio_head(audio), VisualBranch())


def test_operations_of_full_fine_tuning(detector):
    """The input is no parameter, so patches take one product backwards; what is frozen takes none."""
    counted = training_flops(detector, MEL, VIDEO)
    assert counted == pytest.approx(3 * BACKBONE + 2 * PATCHES + AUDIO + 3 * (REST + HEADS), rel=1e-4)
    assert pytest.approx(0.36e12, rel=0.01) == BACKBONE + PATCHES
    assert pytest.approx(1.08e12, rel=0.01) == 3 * BACKBONE + 2 * PATCHES
    assert pytest.approx(0.076e12, rel=0.01) == 3 * (REST + HEADS)


def test_frozen_backbone_has_no_backward_pass(detector):
    detector.visual_encoder.backbone.requires_grad_(False)
    counted = training_flops(detector, MEL, VIDEO)
    detector.visual_encoder.backbone.requires_grad_(True)
    # The projection of frozen tokens needs the gradient of its weights only.
    projection = 2 * 1569 * 768 * 512
    expected = BACKBONE + PATCHES + AUDIO + 3 * (REST + HEADS) - projection
    assert counted == pytest.approx(expected, rel=1e-4)


def test_operations_of_stage_1():
    tokens = 4 * layer(12, 512, 1024)
    patches = 2 * 12 * 8192 * 512
    heads = 2 * (512 * 512 + 512 * 256) + 2 * (512 * 512 + 512)
    counted = training_flops(AudioNet(AudioEncoder()), MEL)
    assert counted == pytest.approx(3 * tokens + 2 * patches + 3 * heads, rel=1e-4)


def test_recomputation_does_not_count(detector):
    before = training_flops(detector, MEL, VIDEO)
    loop.speed_up(detector, SpeedConfig(checkpointing=True), CPU, "bf16")
    assert training_flops(detector, MEL, VIDEO) == before
    assert detector.visual_encoder.backbone.blocks.checkpointing
    loop.speed_up(detector, SpeedConfig(), CPU, "bf16")


def test_counting_changes_nothing():
    model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    weights, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert training_flops(model, torch.ones(3, 8)) == 2 * (2 * 8 * 4)
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_peak_rates_by_device_name():
    assert peak("NVIDIA H100 80GB HBM3", "bf16") == 989.5e12
    assert peak("NVIDIA H100 PCIe", "tf32") == 378e12
    assert peak("NVIDIA A100-SXM4-80GB", "fp32") == 19.5e12
    assert peak("Tesla V100-SXM2-16GB", "bf16") is None, "its tensor cores have no bf16"
    for other in ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA RTX A4000", "NVIDIA GeForce RTX 4090 Laptop GPU", "cpu"):
        assert peak(other, "bf16") is None, other
    for rates in flops._PEAKS.values():
        assert rates.get("bf16", 1e9) >= rates.get("tf32", 1e9) >= rates["fp32"]
