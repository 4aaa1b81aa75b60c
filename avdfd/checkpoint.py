"""Checkpoint files: written whole or not at all, read without running code.

A run's checkpoint is one file with the state of model and training and the config they belong to. It is a plain
`torch.save` of tensors and simple values, so that `weights_only` reading is enough.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from avdfd.errors import UserError
from avdfd.files import sha256_of, write_atomic


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Writes a checkpoint atomically. A full disk raises OSError and leaves the former file in place."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, *kinds: str) -> dict[str, Any]:
    """Reads a checkpoint that `save` wrote for a config of one of these kinds. Raises UserError."""
    checkpoint = _read(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("config"), dict):
        raise UserError(f"{path}: not a checkpoint of this repository; name a run folder or its best.pt")
    found = checkpoint["config"].get("kind")
    if found not in kinds:
        raise UserError(f"{path}: a checkpoint of '{found}', here one of '{' or '.join(kinds)}' is wanted")
    return checkpoint


def read_state_dict(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Weights from a safetensors or torch file, unwrapped from a `state_dict` entry where there is one.

    Raises UserError for a missing or damaged file, one that needs code to load, and a wrong sha256.
    """
    path = Path(path)
    if sha256 is not None:
        if not path.is_file():
            raise UserError(f"{path}: no such file of weights")
        found = sha256_of(path)
        if found != sha256.lower():
            raise UserError(f"{path}: sha256 is {found}, the config expects {sha256}; get the file again")
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None
    content = _read(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path}: holds no state dict of tensors")
    return content


def _read(path: Path) -> Any:
    if path.is_dir():
        raise UserError(f"{path}: a folder, a checkpoint file is wanted")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; run the earlier stage first or correct the path") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path}: not a checkpoint, or one that would run code to load; refused") from None
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError):
        raise UserError(f"{path}: truncated or not a checkpoint; restore it or train again") from None
