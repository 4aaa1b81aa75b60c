"""An untrained run with three branches."""

from pathlib import Path

import torch

from avdfd.config import ConsistencyModelConfig, PretrainConfig, TrainConfig, parse
from avdfd.core.files import BEST
from avdfd.models.detector import Detector
from avdfd.training import weights
from avdfd.training.build import build_detector, load_audio_net
from avdfd.training.weights import RunFacts
from tests.helpers.runs import AUDIO, VISUAL, data_section


def make_three_branches(root: Path, data: Path, name: str = "three", audio: Path | None = None) -> Path:
    """Write a run folder with the weights of an untrained detector; `data` is the folder of `make_store`.

    `audio` is a run of stage 1, whose audio branch it has.
    """
    common = {"name": name, "runs": str(root), "data": data_section(data, "RVFA", "FVRA")}
    stage1 = parse({**common, "model": AUDIO}, PretrainConfig, "test").model
    consistency = ConsistencyModelConfig(tokens=4)
    values = {"visual": VISUAL, "audio": str(audio or "stage1"), "consistency": {"init": "2a"}}
    config = parse({**common, **values}, TrainConfig, "test")
    torch.manual_seed(0)
    model = build_detector(config, stage1, consistency)
    assert isinstance(model, Detector), "with three branches"
    model.consistency.shape_basis.normal_(0, 10)
    if audio is not None:
        model.load_audio(load_audio_net(audio)[0])
    facts = RunFacts(config=config, audio_model=stage1, consistency_model=consistency, git="unknown")
    weights.save(root / name / BEST, model.state_dict(), facts)
    return root / name
