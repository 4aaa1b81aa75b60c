"""The weights that AVFF's stages start from: named files and runs, what is refused, and the runs behind a run."""

import pytest
import torch

from avdfd.baselines import avff, avff_start
from avdfd.config import AvffConfig, MrdfConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.training import weights
from avdfd.training.weights import RunFacts

MODEL = {
    "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
    "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
RELEASED = {"faithful": True, "loss": {"adversarial": 0.0}}


@pytest.fixture
def config(tmp_path):
    def config(openavff=None, name="avff", model=None, **changes):
        values = {
            "name": name,
            "runs": str(tmp_path / "runs"),
            "data": {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]},
            "model": {**MODEL, **(model or {}), "openavff": None if openavff is None else str(openavff)},
        }
        return parse({**values, **changes}, AvffConfig, "test")

    return config


def make_run(cfg, stage, seed=0):
    """Write the run of an untrained model of a stage; return the model."""
    torch.manual_seed(seed)
    model = avff.rebuild(cfg, stage)
    name = cfg.name if stage == "finetune" else f"{cfg.name}-{stage}"
    facts = RunFacts(config=cfg.model_copy(update={"name": name}), stage=stage, git="unknown")
    weights.save(avff_start.Path(cfg.runs) / name / BEST, model.state_dict(), facts)
    return model


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_pre_training_continues_from_a_file_of_openavff(config, tmp_path):
    """Without a word it started from random weights before."""
    torch.manual_seed(1)
    released = avff.rebuild(config(**RELEASED), "pretrain").state_dict()
    path = tmp_path / "stage-1.pth"
    torch.save({f"module.{key}": value for key, value in released.items()}, path)
    assert same(avff.build(config(path, **RELEASED), "pretrain", None).state_dict(), released)
    adversarial = avff.build(config(path), "pretrain", None)
    assert same(adversarial.model.state_dict(), released), "corrected and with critics: the released keys are the same"
    assert len(adversarial.critics.state_dict()) > 0


@pytest.mark.parametrize("place", ["", f"/{BEST}"])
def test_pre_training_continues_from_a_run_with_its_critics(place, config, tmp_path):
    former = make_run(config(name="one"), "pretrain")
    run = f"{tmp_path}/runs/one-pretrain{place}"
    assert same(avff.build(config(run), "pretrain", None).state_dict(), former.state_dict())
    without = avff.build(config(run, loss={"adversarial": 0.0}), "pretrain", None)
    assert same(without.state_dict(), former.model.state_dict())


def test_pre_training_continues_from_a_run_that_started_from_marlin(config, tmp_path):
    """Its visual encoder has MARLIN's biases, so the config still names MARLIN's file, which is not read."""
    marlin = {"marlin": {"file": "marlin.pt"}}
    former = make_run(config(name="one", model=marlin), "pretrain")
    run = tmp_path / "runs" / "one-pretrain"
    assert same(avff.build(config(run, model=marlin), "pretrain", None).state_dict(), former.state_dict())
    with pytest.raises(UserError, match=r"has the biases of MARLIN's form: set model\.marlin=marlin\.pt"):
        avff.build(config(run), "pretrain", None)


def test_fine_tuning_starts_from_either_pre_training(config, tmp_path):
    for name in ("one", "two"):
        former = make_run(config(name=name), "pretrain").model.state_dict()
        tuned = avff.build(config(tmp_path / "runs" / f"{name}-pretrain"), "finetune", None).state_dict()
        shared = {key for key in tuned if not key.startswith(("a2v.mlp", "v2a.mlp", "mlp_"))}
        assert all(torch.equal(tuned[key], former[key]) for key in shared)


def test_fine_tuning_starts_from_the_file_that_their_notebook_makes(config, tmp_path):
    torch.manual_seed(2)
    adapted = avff.rebuild(config(**RELEASED), "finetune").state_dict()
    path = tmp_path / "stage-3.pth"
    torch.save({f"module.{key}": value for key, value in adapted.items()}, path)
    assert same(avff.build(config(path, **RELEASED), "finetune", None).state_dict(), adapted)
    with pytest.raises(UserError, match=r"stage-3.pth: .* has other shapes for 1 of .* keys"):
        avff.build(config(path), "finetune", None)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_checkpoints_that_are_missing_or_do_not_fit_are_refused(stage, config, tmp_path):
    path = tmp_path / "stage-1.pth"

    def refused(cfg):
        with pytest.raises(UserError) as error:
            avff.build(cfg, stage, None)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
        return str(error.value)

    assert "stage-1.pth: no such checkpoint" in refused(config(path))
    path.write_bytes(b"no checkpoint")
    assert "stage-1.pth: not a checkpoint" in refused(config(path))
    torch.save({"audio_encoder.norm.weight": torch.zeros(16)}, path)
    assert "stage-1.pth: " in refused(config(path))
    named = {"openavff": {"file": str(path), "sha256": "00"}}
    assert "the config expects 00" in refused(parse({**config().model_dump(), "model": MODEL | named}, AvffConfig, "t"))
    (tmp_path / "folder").mkdir()
    assert "folder: has no best.safetensors" in refused(config(tmp_path / "folder"))
    make_run(config(name="wide", model={"dim": 24}), "pretrain")
    assert "wide-pretrain: " in refused(config(tmp_path / "runs" / "wide-pretrain"))
    make_run(config(name="bank", model={"audio_input": "fbank"}), "pretrain")
    assert "was trained with model.audio_input fbank, not mel: set model.audio_input=fbank" in refused(
        config(tmp_path / "runs" / "bank-pretrain")
    )
    facts = RunFacts(
        config=parse(
            {"name": "m", "data": {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]}}, MrdfConfig, "test"
        ),
        stage="train",
        git="unknown",
    )
    weights.save(tmp_path / "runs" / "mrdf" / BEST, {"x": torch.zeros(1)}, facts)
    assert "a model of 'mrdf', expected one of 'avff'" in refused(config(tmp_path / "runs" / "mrdf"))
    assert not (tmp_path / "runs" / "avff").exists()


def test_a_damaged_run_is_refused(config, tmp_path):
    make_run(config(name="one"), "pretrain")
    file = tmp_path / "runs" / "one-pretrain" / BEST
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"damaged, its sha256 differs"):
        avff.build(config(file), "pretrain", None)


def test_fine_tuning_does_not_pass_over_the_pre_training_of_its_name(config, tmp_path):
    make_run(config(name="other"), "pretrain")
    make_run(config(), "pretrain")
    own, other = (tmp_path / "runs" / name for name in ("avff-pretrain", "other-pretrain"))
    avff.build(config(own), "finetune", None)
    avff.build(config(other), "pretrain", None)
    with pytest.raises(UserError, match=r"avff-pretrain: fine-tuning would not start from this run but from"):
        avff.build(config(other), "finetune", None)


def test_the_runs_behind_a_run_are_found(config, tmp_path):
    """So that it is not tested on identities that an earlier pre-training was given."""
    runs = tmp_path / "runs"
    make_run(config(name="kinetics"), "pretrain")
    make_run(config(runs / "kinetics-pretrain", name="faces"), "pretrain")
    tuned = config(runs / "faces-pretrain", name="tuned")
    names = [one.name for one in avff_start.pretrained_under(tuned, "finetune")]
    assert names == ["faces-pretrain", "kinetics-pretrain"]
    chained = [one.name for one in avff_start.pretrained_under(config(name="faces"), "finetune")]
    assert chained == names, "without a named checkpoint, the pre-training of the same name"
    torch.save({}, tmp_path / "published.pth")
    assert avff_start.pretrained_under(config(tmp_path / "published.pth"), "finetune") == []
    assert avff_start.pretrained_under(config(runs / "gone"), "finetune") == []


def test_a_plain_string_names_the_file(config):
    assert config("x.pth").model.openavff.model_dump() == {"file": "x.pth", "sha256": None}
