"""Small configs of the baselines, and the message of a wrong request."""

import pytest

import baseline
from avdfd.core.errors import UserError
from tests.helpers.runs import SPLITS
from tests.helpers.vfd import SMALL as SMALL_VFD

RECIPE = {"lr": 1e-3, "epochs": 2, "batch_size": 4}
SYSTEMS = {
    "avff": {
        "model": {
            "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
            "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
        },
        "pretrain": {**RECIPE, "schedule": "halving", "halve_from": 1},
        "finetune": {**RECIPE, "new_lr_scale": 50.0, "clip_norm": 1.0},
    },
    "mrdf": {
        "model": {"encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 1, "max_steps": 8},
        "train": {**RECIPE, "betas": [0.5, 0.9], "schedule": "plateau", "batch_size": 8},
    },
    "vfd": SMALL_VFD,
}  # fmt: skip


def message(arguments, script=baseline):
    with pytest.raises(UserError) as error:
        script.main(arguments)
    return str(error.value)


def swapped_splits(folder):
    """Write split lists whose training identities are the test identities of the others."""
    folder.mkdir()
    for ours, theirs in (("train", "test"), ("validation", "validation"), ("test", "train")):
        (folder / f"{theirs}.txt").write_text("\n".join(SPLITS[ours]))
    return folder
