"""Experiment configs: one JSON file <-> one typed, strict, immutable model.

base        sections of several configs; front           pretrained audio encoders
stage1      `pretrain.py`;               stage2a, stage2 `train.py`
preprocess  `data/preprocess.py`;       reconstruction  the diffusion model of its `mel_err`
baselines   `baseline.py`;              parity          `data/preprocessing/codec_parity.py`
lip_sync    those of them that relate lips and speech; recipes training recipes and files of weights
audio       the chain that all audio passes; cloning    `data/preprocessing/clone_voices.py`
search      `search.py`;                ablation        `ablate.py`
vocoding    `data/preprocessing/resynthesise.py`; visual visual encoders of stages 2a and 2
loading     JSON, overrides, and errors that name the key
saved       configs in run folders and weights, also of earlier versions
"""

from avdfd.config.ablation import AblationConfig
from avdfd.config.audio import ChainConfig
from avdfd.config.base import (
    AugmentConfig,
    CodecConfig,
    DataConfig,
    RunConfig,
    SelectConfig,
    SpeedConfig,
    TrackingConfig,
    WaveformAugmentConfig,
)
from avdfd.config.baselines import (
    BASELINES,
    AvffConfig,
    AvffModelConfig,
    BaselineConfig,
    CountermeasureConfig,
    MrdfConfig,
    MrdfModelConfig,
    VfdConfig,
    VfdModelConfig,
)
from avdfd.config.cloning import (
    CloneConfig,
    CommandConfig,
    EcapaConfig,
    Ge2eConfig,
    ScoresConfig,
    SeedVcConfig,
    WorldConfig,
)
from avdfd.config.front import FrontConfig, FrontSizesConfig
from avdfd.config.lip_sync import AvhAlignConfig, ProbeConfig, SpeechForensicsConfig, SyncNetConfig
from avdfd.config.loading import load, parse
from avdfd.config.parity import ParityConfig
from avdfd.config.preprocess import FaceConfig, MediaConfig, PreprocessConfig
from avdfd.config.recipes import AvHubertConfig, OptimConfig, RecipeConfig, ScoringConfig, WeightsConfig
from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.config.saved import completed, completed_mouth, parse_saved
from avdfd.config.search import DrawConfig, SearchConfig
from avdfd.config.stage1 import AudioModelConfig, PretrainConfig
from avdfd.config.stage2 import ConsistencyConfig, Fusion, PredictorConfig, SynchronyConfig, TrainConfig
from avdfd.config.stage2a import ConsistencyModelConfig, ConsistencyStageConfig, Direction
from avdfd.config.visual import RepresentationConfig, VisualModelConfig
from avdfd.config.vocoding import ResynthesisConfig

__all__ = [
    "BASELINES",
    "RUNS",
    "AblationConfig",
    "AudioModelConfig",
    "AugmentConfig",
    "AvHubertConfig",
    "AvffConfig",
    "AvffModelConfig",
    "AvhAlignConfig",
    "BaselineConfig",
    "ChainConfig",
    "CloneConfig",
    "CodecConfig",
    "CommandConfig",
    "ConsistencyConfig",
    "ConsistencyModelConfig",
    "ConsistencyStageConfig",
    "CountermeasureConfig",
    "DataConfig",
    "Direction",
    "DrawConfig",
    "EcapaConfig",
    "FaceConfig",
    "FrontConfig",
    "FrontSizesConfig",
    "Fusion",
    "Ge2eConfig",
    "MediaConfig",
    "MrdfConfig",
    "MrdfModelConfig",
    "OptimConfig",
    "ParityConfig",
    "PredictorConfig",
    "PreprocessConfig",
    "PretrainConfig",
    "ProbeConfig",
    "RecipeConfig",
    "ReconstructionConfig",
    "RepresentationConfig",
    "ResynthesisConfig",
    "RunConfig",
    "ScoresConfig",
    "ScoringConfig",
    "SearchConfig",
    "SeedVcConfig",
    "SelectConfig",
    "SpeechForensicsConfig",
    "SpeedConfig",
    "SyncNetConfig",
    "SynchronyConfig",
    "TrackingConfig",
    "TrainConfig",
    "VfdConfig",
    "VfdModelConfig",
    "VisualModelConfig",
    "WaveformAugmentConfig",
    "WeightsConfig",
    "WorldConfig",
    "completed",
    "completed_mouth",
    "load",
    "parse",
    "parse_saved",
]

_RUNS: tuple[type[RunConfig], ...] = (PretrainConfig, ConsistencyStageConfig, TrainConfig, *BASELINES)
RUNS: dict[str, type[RunConfig]] = {model.model_fields["kind"].default: model for model in _RUNS}
"""Config class by kind, of the scripts that write a run folder."""
