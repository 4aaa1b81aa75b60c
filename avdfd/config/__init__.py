"""Experiment configs: one JSON file <-> one typed, strict, immutable model.

base        what several configs share; stages     `pretrain.py`, `train.py`
preprocess  `data/preprocess.py`;       reconstruction  the diffusion model of its `mel_err`
baselines   `baseline.py`;            search          `search.py`
loading     JSON, overrides, and errors that name the key
"""

from avdfd.config.base import AugmentConfig, DataConfig, RunConfig, SelectConfig
from avdfd.config.baselines import (
    BASELINES,
    AvffConfig,
    AvffModelConfig,
    MrdfConfig,
    MrdfModelConfig,
    RecipeConfig,
    VfdConfig,
    VfdModelConfig,
    WeightsConfig,
)
from avdfd.config.loading import load, parse
from avdfd.config.preprocess import FaceConfig, MediaConfig, PreprocessConfig
from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.config.search import DrawConfig, SearchConfig
from avdfd.config.stages import (
    AudioModelConfig,
    OptimConfig,
    PredictorConfig,
    PretrainConfig,
    TrainConfig,
    VisualModelConfig,
)

__all__ = [
    "BASELINES",
    "RUNS",
    "AudioModelConfig",
    "AugmentConfig",
    "AvffConfig",
    "AvffModelConfig",
    "DataConfig",
    "DrawConfig",
    "FaceConfig",
    "MediaConfig",
    "MrdfConfig",
    "MrdfModelConfig",
    "OptimConfig",
    "PredictorConfig",
    "PreprocessConfig",
    "PretrainConfig",
    "RecipeConfig",
    "ReconstructionConfig",
    "RunConfig",
    "SearchConfig",
    "SelectConfig",
    "TrainConfig",
    "VfdConfig",
    "VfdModelConfig",
    "VisualModelConfig",
    "WeightsConfig",
    "load",
    "parse",
]

RUNS: dict[str, type[RunConfig]] = {
    model.model_fields["kind"].default: model for model in (PretrainConfig, TrainConfig, *BASELINES)
}
"""Kind -> config of what leaves a run folder."""
