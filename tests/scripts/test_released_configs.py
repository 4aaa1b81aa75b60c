"""config/released: every stage builds the released network, unchanged, and `bash baseline.sh` runs the right stages.

`tests/slow/baselines` compares the numbers of the same networks, as `avdfd.released.load` makes them.
"""

import json

import pytest
import torch
from torch import nn

import baseline
from avdfd.baselines import SYSTEMS, released
from avdfd.config import BASELINES, load
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.training import weights
from tests import reference
from tests.helpers.runs import data_section
from tests.paths import ROOT

NETWORKS = [
    ("avff", "pretrain", "", "openavff-pretrain", "openavff", "VideoCAVMAE"),
    ("avff", "finetune", "", "openavff-finetune", "openavff", "VideoCAVMAEFT"),
    ("mrdf", "train", "", "mrdf-ce", "mrdf", "MRDF_CE"),
    ("vfd", "match", "networks.face", "vfd2022-face", "vfd", "CViT"),
    ("vfd", "match", "networks.voice", "vfd2022-voice", "vfd", "CAiT"),
]
"""Config, stage, part of the stage's model, released system, file and class of its reference."""


def config(name, *overrides):
    return load(ROOT / "config" / "released" / f"{name}.json", *BASELINES, overrides=list(overrides))


def settings(module: nn.Module) -> dict[str, object]:
    """Return everything that changes what a module computes, beside its weights: classes, sizes and flags."""
    plain = (bool, int, float, str, tuple, list, type(None))
    return {
        name: (type(part), {key: v for key, v in vars(part).items() if key[0] != "_" and isinstance(v, plain)})
        for name, part in module.named_modules()
    }


@pytest.mark.parametrize(("name", "stage", "part", "system", "file", "model"), NETWORKS)
def test_the_network_of_a_stage_is_the_released_one(name, stage, part, system, file, model):
    cfg = config(name)
    assert cfg.faithful
    with torch.device("meta"):
        ours = SYSTEMS[cfg.kind].rebuild(cfg, stage).eval()
        build, keys, sizes = released.SYSTEMS[system]
        theirs = build({}, **sizes).eval()
        layout = json.loads((reference.FOLDER / f"{file}_state_dicts.json").read_text())[model]
        published = keys({key: torch.empty(shape) for key, (shape, _) in layout.items()})
    ours = ours.get_submodule(part)
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert shapes == {key: tuple(value.shape) for key, value in published.items()}
    assert settings(ours) == settings(theirs)


@pytest.mark.parametrize(
    ("name", "stages"), [("avff", ["pretrain", "finetune"]), ("mrdf", ["train"]), ("vfd", ["match"])]
)
def test_all_stages_of_a_config_are_trained(name, stages, monkeypatch):
    """VFD's networks are published without a threshold: only the scale of their distance is left to be trained."""
    trained = []
    monkeypatch.setattr(baseline, "train", lambda cfg, system, stage, *_, **__: trained.append(stage))
    baseline.main(["--config", str(ROOT / "config" / "released" / f"{name}.json")])
    assert trained == stages


SMALL = {
    "avff": [
        *("--model.dim=16", "--model.depth=1", "--model.heads=2", "--model.image_size=32", "--model.audio_length=128"),
        *("--model.decoder_dim=8", "--model.decoder_depth=1", "--model.decoder_heads=2"),
        *("--pretrain.epochs=1", "--pretrain.batch_size=4", "--finetune.epochs=1", "--finetune.batch_size=4"),
    ],
    "mrdf": [
        *("--model.dim=32", "--model.heads=2", "--model.ffn_dim=16", "--model.width=1", "--model.clips=window"),
        *("--train.epochs=1", "--train.batch_size=8"),
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_small_sizes_of_a_config_train(name, small_store, tmp_path):
    data = [f"--data.{key}={json.dumps(value)}" for key, value in data_section(small_store, "RVFA", "FVRA").items()]
    file = str(ROOT / "config" / "released" / f"{name}.json")
    baseline.main(["--config", file, *data, *SMALL[name], f"--runs={tmp_path}", "--device=cpu"])
    facts, state = weights.load(tmp_path / config(name).name / BEST, name)
    assert facts.config.faithful
    assert all(value.isfinite().all() for value in state.values())


def test_missing_weights_are_named(small_store, tmp_path):
    data = [f"--data.{key}={json.dumps(value)}" for key, value in data_section(small_store, "RVFA").items()]
    arguments = ["--config", str(ROOT / "config" / "released" / "vfd.json"), *data, f"--runs={tmp_path}"]
    with pytest.raises(UserError, match=r"latest_net_G_video.pth: no such file; .* or set model.face.file"):
        baseline.main([*arguments, "--device=cpu"])
    assert not list(tmp_path.iterdir())
