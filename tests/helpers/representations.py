"""Files of small visual representations with drawn weights in the published form, and configs that name them."""

from pathlib import Path
from typing import Any

import torch

from avdfd.core.files import sha256_of
from OpenAVFF.visual_encoder import VisualEncoder
from tests.helpers.avhubert import SIZES, drawn_weights

VIT: dict[str, Any] = {"image_size": 32, "dim": 16, "depth": 1, "heads": 2}
"""Sizes of a small ViT."""


def write_representation(folder: Path, kind: str) -> dict[str, Any]:
    """Write the file of a kind into a folder; return the section `representation` that names it."""
    path = folder / f"{kind}.pt"
    if kind == "av-hubert":
        torch.save({"model": drawn_weights()}, path)
        return {"kind": kind, "avhubert": {**SIZES, "file": str(path), "sha256": sha256_of(path), "layer": 1}}
    torch.manual_seed(0)
    torch.save({f"encoder.{key}": value for key, value in VisualEncoder(**VIT).state_dict().items()}, path)
    return {"kind": kind, "vit": {**VIT, "init": "marlin", "weights": str(path), "sha256": sha256_of(path)}}
