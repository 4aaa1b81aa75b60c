"""Visual representations from files: weights, widths, other folders, and files that are refused."""

import shutil

import pytest
import torch

from avdfd.config import RepresentationConfig, parse
from avdfd.core.errors import UserError
from avdfd.training.representations import load_representation, width_of
from tests.helpers.avhubert import SIZES, drawn_weights
from tests.helpers.representations import VIT, write_representation

KINDS = ("av-hubert", "vit")


def config(values) -> RepresentationConfig:
    return parse(values, RepresentationConfig, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_file_also_in_another_folder(kind, tmp_path):
    cfg = config(write_representation(tmp_path, kind))
    model = load_representation(cfg)
    assert model.width == width_of(cfg) == {"av-hubert": SIZES["dim"], "vit": VIT["dim"]}[kind]
    file = tmp_path / f"{kind}.pt"
    if kind == "vit":
        assert model.normalisation == "unit", "as MARLIN was trained"
        saved = torch.load(file)
        assert all(torch.equal(saved[f"encoder.{key}"], x) for key, x in model.backbone.state_dict().items())
    else:
        assert model.layer == 1
        assert all(torch.equal(drawn_weights()[key], x) for key, x in model.avhubert.state_dict().items())
    (tmp_path / "elsewhere").mkdir()
    shutil.move(file, tmp_path / "elsewhere" / file.name)
    again = load_representation(cfg, [tmp_path / "elsewhere"])
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    with pytest.raises(UserError, match=r"no such file of weights; .* correct model\.representation\..* --encoders"):
        load_representation(cfg)


@pytest.mark.parametrize("kind", KINDS)
def test_another_file_is_refused(kind, tmp_path):
    cfg = config(write_representation(tmp_path, kind))
    torch.save({}, tmp_path / f"{kind}.pt")
    with pytest.raises(UserError, match=r"sha256 is [0-9a-f]{64}, the config expects"):
        load_representation(cfg)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "lips"}, "kind"),
        ({"kind": "vit"}, "kind 'vit' needs vit with the file of its weights and their sha256"),
        ({"kind": "vit", "vit": {"init": "random"}}, "kind 'vit' needs vit with the file"),
        ({"kind": "av-hubert", "avhubert": {"file": "a.pt"}}, "kind 'av-hubert' needs avhubert with the file"),
        ({"avhubert": {"file": "a.pt"}}, "avhubert is unused with kind 'mouth-shape'"),
    ],
)
def test_wrong_configs_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        config(values)
