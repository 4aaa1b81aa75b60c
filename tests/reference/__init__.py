"""Numbers computed by the released code of each system, and how the weights and inputs behind them are made."""

import json
import zlib
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from tests.paths import SPEECH

FOLDER = Path(__file__).parent


def values(name: str) -> dict[str, np.ndarray]:
    """Stored reference arrays."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def speech(stored: dict[str, np.ndarray]) -> Tensor:
    """Audio (S,) in [-1, 1) of the shared file that stored values were computed on."""
    with av.open(str(SPEECH / str(stored["source"]))) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return torch.from_numpy(samples.astype(np.float32) / 32768)


def tensor(name: str, *shape: int) -> Tensor:
    """The input tensor of this name: standard normal, seeded by the name."""
    return torch.from_numpy(_normal(name, shape))


def state_dict(file: str, model: str) -> dict[str, Tensor]:
    """Weights for every key of a released model, drawn as for the reference values."""
    layout = json.loads((FOLDER / f"{file}_state_dicts.json").read_text())[model]
    return {
        key: torch.from_numpy(_weight(key, tuple(shape)))
        if dtype == "float32"
        else torch.zeros(shape, dtype=torch.int64)
        for key, (shape, dtype) in layout.items()
    }


def _normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return rng.standard_normal(shape, dtype=np.float32)


def _weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    x = _normal(key, shape)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(x)
    if len(shape) >= 2:
        return 0.05 * x
    return 1 + 0.1 * x if key.endswith("weight") else 0.1 * x
