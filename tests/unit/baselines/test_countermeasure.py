"""Countermeasures on a pretrained encoder: released keys, shapes and numbers, their encoder's file, gradients."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avdfd.baselines import countermeasure
from avdfd.baselines.countermeasure import Inputs, Raw, from_released
from avdfd.config import CountermeasureConfig, SpeedConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.datasets.loaders import stack
from avdfd.models.front_ends.wav2vec2 import tokens_of
from avdfd.training.loop import speed_up
from tests import reference

ARCHS = {"SSL-AASIST": "ssl-aasist", "SLS": "sls"}
SIZES: dict[str, Any] = {"depth": 2, "dim": 16, "heads": 2, "mlp_dim": 16, "channels": 8}
# Weights that would otherwise close SLS's gates, or bring its logits to SELU's floor, whatever the audio.
SCALES = {"fc0.weight": 0.05, "fc1.weight": 0.02}


def config(arch: str, *, faithful: bool = False, samples: int = 64_600, **ssl: Any) -> CountermeasureConfig:
    return CountermeasureConfig.model_validate(
        {
            "name": "x",
            "faithful": faithful,
            "data": {"elements": "elements", "splits": "splits", "fake_tiers": ["RVFA"]},
            "model": {"arch": arch, "samples": samples, "ssl": ssl},
        }
    )


def drawn(name: str) -> dict[str, Tensor]:
    """Weights of a released model whose encoder has 2 of its 24 layers, as for the stored numbers."""
    weights = reference.state_dict("countermeasures", name)
    if name == "SLS":
        return {key: SCALES.get(key, 1) * value for key, value in weights.items()}
    return {k: 2 * v if v.ndim >= 2 and not k.startswith("ssl_model") else v for k, v in weights.items()}


@pytest.mark.parametrize("name", ARCHS)
def test_equals_the_released_model(name: str):
    """The reference has the published widths and the encoder of fairseq."""
    model = countermeasure.rebuild(config(ARCHS[name], faithful=True, sizes={"depth": 2}), "train")
    model.load_state_dict(from_released(drawn(name)))
    chirp = 0.4 * torch.sin(torch.arange(64_600) ** 2 / 8e4)
    with torch.no_grad():
        out = model.eval()(torch.stack([0.1 * reference.tensor("countermeasures.audio.0", 64_600), chirp]))
    out = out.log_softmax(dim=1) if name == "SLS" else out
    expected = reference.values("countermeasures")[name]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert abs(expected[0] - expected[1]).max() > 100 * 1e-4, "both inputs have different scores"


@pytest.mark.parametrize("name", ARCHS)
def test_keys_and_shapes_are_the_released_ones(name: str):
    """Layers 3 to 24 have the shapes of the second."""
    layout = json.loads((reference.FOLDER / "countermeasures_state_dicts.json").read_text())[name]
    shapes = {key: shape for key, (shape, _) in layout.items()}
    for key in [key for key in shapes if ".layers.1." in key]:
        shapes |= {key.replace(".layers.1.", f".layers.{layer}."): shapes[key] for layer in range(2, 24)}
    released = from_released({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    with torch.device("meta"):
        ours = countermeasure.rebuild(config(ARCHS[name], faithful=True), "train").state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == {k: tuple(v.shape) for k, v in released.items()}


def test_keys_of_a_run_stay():
    weights = countermeasure.rebuild(config("ssl-aasist", samples=4_000, sizes=SIZES), "train").state_dict()
    assert from_released(weights).keys() == weights.keys()


@pytest.mark.parametrize("samples", [400, 3_211, 49_152, 64_600])
def test_tokens_are_counted_as_the_encoder_makes_them(samples: int):
    model = countermeasure.rebuild(config("ssl-aasist", sizes=SIZES), "train")
    assert isinstance(model.ssl_model, torch.nn.Module)
    assert model.ssl_model(torch.randn(1, samples))[0].shape[1] == tokens_of(samples)


@pytest.mark.parametrize("arch", ARCHS.values())
@pytest.mark.parametrize("faithful", [False, True])
def test_every_trained_weight_has_a_gradient(arch: str, faithful: bool):
    torch.manual_seed(0)
    model = countermeasure.rebuild(config(arch, faithful=faithful, samples=4_000, sizes=SIZES), "train").train()
    model(torch.randn(4, 4_000) / 10).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("arch", ["ssl-aasist", "sls"])
def test_checkpointing_changes_no_gradient(arch: str):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = countermeasure.rebuild(config(arch, samples=4_000, sizes=SIZES), "train").train()
        speed_up(model, SpeedConfig(checkpointing=checkpointing), torch.device("cpu"), "fp32")
        torch.manual_seed(1)
        model(torch.randn(4, 4_000) / 10).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize("arch", ARCHS.values())
def test_a_score_depends_neither_on_the_batch_nor_on_padding(arch: str):
    torch.manual_seed(0)
    model = countermeasure.rebuild(config(arch, samples=4_000, sizes=SIZES), "train")
    model(torch.randn(4, 4_000) / 10)  # changes the running statistics from their initial values
    model.eval()
    clips = [torch.randint(-9_000, 9_000, (length,), dtype=torch.int16) for length in (5_000, 1_700, 4_000)]
    raws = [Raw(clip, torch.tensor(len(clip)), torch.tensor(1.0), torch.tensor(1.0)) for clip in clips]
    inputs = Inputs(4_000)
    with torch.no_grad():
        together = model(inputs.prepare(stack(raws), None).waveform)
        alone = torch.cat([model(inputs.prepare(stack([raw]), None).waveform) for raw in raws])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert len(set(alone[:, 0].tolist())) == 3


@pytest.mark.parametrize("arch", ARCHS.values())
@pytest.mark.parametrize("faithful", [False, True])
def test_the_encoder_is_given_normalised_audio_unless_as_released(arch: str, faithful: bool):
    model = countermeasure.rebuild(config(arch, faithful=faithful, samples=4_000, sizes=SIZES), "train").eval()
    given = []
    encoder: Any = model.ssl_model
    encoder.model.feature_extractor.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    audio = 0.2 * torch.randn(2, 4_000)
    with torch.no_grad():
        model(audio)
    expected = audio if faithful else (audio - audio.mean(1, True)) / (audio.var(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(given[0], expected, rtol=1e-3, atol=1e-3)


def test_training_starts_from_the_encoders_file(tmp_path: Path):
    start = countermeasure.rebuild(config("sls", samples=4_000, sizes=SIZES), "train").ssl_model
    path = tmp_path / "encoder.pt"
    assert isinstance(start, torch.nn.Module)
    torch.save({k.removeprefix("model."): v for k, v in start.state_dict().items()}, path)
    named = {"file": str(path), "sha256": sha256_of(path)}
    built = countermeasure.build(config("sls", samples=4_000, sizes=SIZES, weights=named), "train", None)
    ours, theirs = (model.state_dict() for model in (built.ssl_model, start))  # type: ignore[union-attr]
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    named["sha256"] = "00"
    with pytest.raises(UserError, match="the config expects 00"):
        countermeasure.build(config("sls", samples=4_000, sizes=SIZES, weights=named), "train", None)
    with pytest.raises(UserError, match=re.escape("model.ssl.weights: sls starts from a pretrained xls-r-300m")):
        countermeasure.build(config("sls", samples=4_000, sizes=SIZES), "train", None)


def test_sizes_of_the_encoder_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="model.ssl.sizes: dim 24 must be a multiple of the groups of its convolution"):
        countermeasure.rebuild(config("sls", sizes={**SIZES, "dim": 24}), "train")


@pytest.mark.parametrize(("arch", "ssl"), [("sls", None), ("aasist", {"arch": "xls-r-300m"})])
def test_an_encoder_belongs_to_the_systems_that_have_one(arch: str, ssl: Any):
    with pytest.raises(ValueError, match="ssl is the encoder of ssl-aasist and sls: set it for them alone"):
        config("ssl-aasist").model_validate({**config("ssl-aasist").model_dump(), "model": {"arch": arch, "ssl": ssl}})


def test_a_frozen_encoder_is_that_of_a_released_aasist():
    plain = config("ssl-aasist").model_dump()
    weights, waveform = {"file": "AASIST.pth"}, {"noise": 0.5}
    for model in ({"arch": "aasist"}, {"arch": "rawnet2", "weights": weights}):
        with pytest.raises(ValueError, match="frozen_encoder takes the encoder of a released AASIST or AASIST-L"):
            CountermeasureConfig.model_validate({**plain, "model": {**model, "frozen_encoder": True}})
    frozen = {"arch": "aasist", "weights": weights, "frozen_encoder": True}
    with pytest.raises(ValueError, match="computes features once, not of augmented audio"):
        CountermeasureConfig.model_validate({**plain, "model": frozen, "augment": {"waveform": waveform}})
