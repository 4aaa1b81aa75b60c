"""Load a pretrained visual encoder, MARLIN's or OpenAVFF's, from the file that a config names."""

from torch import nn

from avdfd.config import VisualModelConfig
from avdfd.training.state_dicts import below, fill, read_weights, unwrap

# Both hold the visual encoder of OpenAVFF/visual_encoder.py under one prefix.
VISUAL = {"marlin": {"encoder.": ""}, "openavff": {"visual_encoder.": ""}}


def load_visual_encoder(module: nn.Module, config: VisualModelConfig) -> None:
    """Load the weights of a visual encoder from the file that the config names (MARLIN's or OpenAVFF's keys)."""
    assert config.weights is not None, "the config asks for no weights"
    weights = unwrap(read_weights(config.weights, sha256=config.sha256), config.weights)
    source = f"{config.weights} as {config.init}"
    fill(module, below(weights, VISUAL[config.init], source), source=source)
