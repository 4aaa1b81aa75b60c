"""Reconstruction error of a diffusion model: cases with known results, and loading of model files."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from avdfd.config import ReconstructionConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.media.reconstruction import WEIGHTS, Reconstruction, Schedule, reconstruct

SIGNAL = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


@pytest.fixture(scope="module")
def mel():
    rng = np.random.default_rng(0)
    return (rng.normal(-6, 3, (128, 768)) + np.linspace(3, -3, 128)[:, None]).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    """Return a function that saves a tiny model with random weights and loads it by a config with changes."""
    diffusers = pytest.importorskip("diffusers")

    def model(*, pipeline=False, schedule=None, weights=None, **config):
        torch.manual_seed(0)
        unet = diffusers.UNet2DModel(
            **{
                "sample_size": (128, 256),
                "in_channels": 1,
                "out_channels": 1,
                "block_out_channels": (4, 4),
                "layers_per_block": 1,
                "norm_num_groups": 2,
                "down_block_types": ("DownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "UpBlock2D"),
                "add_attention": False,
                **(weights or {}),
            }
        )
        folder = tmp_path / "unet" if pipeline else tmp_path
        unet.save_pretrained(folder)
        if schedule is not None:
            place = tmp_path / "scheduler" if pipeline else tmp_path
            place.mkdir(exist_ok=True)
            (place / "scheduler_config.json").write_text(json.dumps(schedule))
        values = {"model": str(tmp_path), "sha256": sha256_of(folder / WEIGHTS[0]), "steps": 2, "device": "cpu"}
        return Reconstruction(ReconstructionConfig(**{**values, **config}))

    return model


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_error_of_a_perfect_gaussian_model_vanishes_with_the_steps(std):
    x = std * torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def noise(x, time):
        signal = SIGNAL[time]
        return (1 - signal).sqrt() * x / (signal * std**2 + 1 - signal)

    errors = [float((reconstruct(x, noise, Schedule(SIGNAL, None), s) - x).abs().mean()) for s in (10, 20, 100, 1000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.3
    assert errors[2] / errors[3] == pytest.approx(10, rel=0.1), "DDIM is a method of order 1"


def test_constant_noise_is_removed_again():
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    back = reconstruct(x, lambda x, time: torch.full_like(x, 0.3), Schedule(SIGNAL, None), 20)
    torch.testing.assert_close(back, x)


def test_clipped_tiles_stay_in_range():
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64) * 2 - 1
    back = reconstruct(x, lambda x, time: -3 * x, Schedule(SIGNAL, 1.0), 10)
    assert back.abs().max() <= 1 + 1e-9


def test_error_of_a_mel(model, mel):
    extractor = model()
    error = extractor.error(mel)
    assert (error.shape, error.dtype) == ((128, 768), np.float32)
    assert (error >= 0).all()
    assert error.std() > 0
    np.testing.assert_array_equal(extractor.error(mel), error)
    np.testing.assert_allclose(extractor.error(mel + 5), error, atol=0.05, err_msg="loudness must not matter")
    assert np.abs(model(steps=3).error(mel) - error).max() > 1e-3


@pytest.mark.parametrize("scale", ["decibel", "zscore"])
@pytest.mark.parametrize("size", [(128, 256), (256, 96), (128, 768)])
def test_model_that_predicts_no_noise_has_no_error(model, mel, scale, size):
    """Tiles of any size are put back in their places."""
    extractor = model(scale=scale, weights={"sample_size": size}, schedule={"clip_sample": False})
    extractor.unet = ZeroNoise(extractor.unet.config)
    np.testing.assert_allclose(extractor.error(mel), 0, atol=1e-4)
    n, channels, *tile = extractor.unet.shape
    assert (n, channels, tuple(tile)) == (768 // size[1], 1, size)


class ZeroNoise:
    """U-Net that predicts no noise."""

    def __init__(self, config):
        self.config = config

    def __call__(self, x, time):
        self.shape = tuple(x.shape)
        return type("Output", (), {"sample": torch.zeros_like(x)})


def test_levels_below_the_range_are_clamped(model):
    inputs = []
    extractor = model(schedule={"clip_sample": False})
    config = extractor.unet.config

    class Recorder(ZeroNoise):
        def __call__(self, x, time):
            inputs.append(x)
            return super().__call__(x, time)

    extractor.unet = Recorder(config)
    mel = np.zeros((128, 768), np.float32)
    mel[0], mel[1] = -40 * math.log(10) / 10, -100 * math.log(10) / 10  # 40 and 100 dB below
    extractor.error(mel)
    first = inputs[0]
    assert first.max() == 1
    assert first[0, 0, 0, 0] == pytest.approx(0, abs=1e-6)
    assert first[0, 0, 1, 0] == -1


def test_pipeline_with_its_own_schedule(model, mel):
    schedule = {"_class_name": "DDPMScheduler", "num_train_timesteps": 50, "beta_schedule": "scaled_linear"}
    extractor = model(pipeline=True, schedule=schedule)
    assert len(extractor.schedule.signal) == 50
    assert extractor.schedule.clip == 1
    assert extractor.error(mel).shape == (128, 768)
    with pytest.raises(UserError, match="steps is 51; the model was trained with 50 steps"):
        model(pipeline=True, schedule=schedule, steps=51)
    with pytest.raises(UserError, match="prediction_type sample; a model that predicts epsilon is needed"):
        model(pipeline=True, schedule={"prediction_type": "sample"})


def test_default_schedule(model):
    torch.testing.assert_close(model().schedule.signal.double(), SIGNAL, rtol=1e-3, atol=1e-7)


def test_unsuitable_models_are_rejected(model, tmp_path):
    with pytest.raises(UserError, match=r"safetensors: sha256 is \w{64}, the config expects 00; get the file again"):
        model(sha256="00")
    with pytest.raises(UserError, match="3 input channels; a model with 1 is needed"):
        model(weights={"in_channels": 3, "out_channels": 3})
    for size in (None, 64, (128, 100)):
        with pytest.raises(UserError, match="its height must be a multiple of 128"):
            model(weights={"sample_size": size})
    with pytest.raises(UserError, match=r"config\.json: no such file; name the folder of a diffusers UNet2DModel"):
        model(model=str(tmp_path / "none"))

    loaded = model()
    config = loaded.config
    (tmp_path / WEIGHTS[0]).write_bytes(b"nothing")
    with pytest.raises(UserError, match="does not load as a UNet2DModel"):
        Reconstruction(config.model_copy(update={"sha256": sha256_of(tmp_path / WEIGHTS[0])}))
    (tmp_path / WEIGHTS[0]).unlink()
    with pytest.raises(UserError, match=r"has no diffusion_pytorch_model\.safetensors"):
        Reconstruction(config)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(UserError, match="is a UNet2DConditionModel; an unconditional UNet2DModel is needed"):
        Reconstruction(config)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json: not JSON"):
        Reconstruction(config)


def test_missing_diffusers_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match="diffusers, which runs the model, is not installed; .* pip install"):
        Reconstruction(ReconstructionConfig(model="somewhere", sha256="00"))
