"""Checkpoints, written atomically, from which a run resumes.

A checkpoint is one file with the state of model and training, and their config. It is a `torch.save` of tensors and
simple values, so that it can be read with `weights_only`. Weights for sharing are a separate file
(avdfd/training/weights.py).
"""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from avdfd.core.errors import UserError
from avdfd.core.files import read_sha256, sha256_of, sha256_path, write_atomic, write_sha256
from avdfd.training.state_dicts import read_torch

LAST = "last-{epoch:05d}-{step:07d}.pt"
"""Name of a checkpoint after so many epochs, and steps of the next one."""
_KEPT = 2


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint atomically, and its sha256 beside it.

    A full disk raises OSError and leaves the previous file in place.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    data = buffer.getvalue()
    write_atomic(path, data)
    write_sha256(path, data)


def save_last(folder: Path, checkpoint: dict[str, Any], *, epoch: int, step: int) -> None:
    """Write a run's checkpoint, and delete the others except for the one before it.

    Checkpoints later than this one were skipped as damaged, and are deleted too.
    """
    path = folder / LAST.format(epoch=epoch, step=step)
    save(path, checkpoint)
    before = [other for other in last_files(folder) if other < path]
    for other in {*last_files(folder)} - {path, *before[: _KEPT - 1]}:
        other.unlink()
        sha256_path(other).unlink(missing_ok=True)


def last_files(folder: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first."""
    return sorted(folder.glob("last-*.pt"), reverse=True)


def load_last(folder: Path, kind: str, keys: Collection[str] = ()) -> tuple[dict[str, Any], list[Path]]:
    """Return a run's newest intact checkpoint, and the damaged ones that were skipped.

    Raises UserError if none is intact, or if it is of another kind or lacks one of the keys.
    """
    damaged: list[Path] = []
    for path in last_files(folder):
        if read_sha256(path) == sha256_of(path):  # a kill may have come before the last sha256
            return _load(path, kind, keys), damaged
        damaged.append(path)
    raise UserError(f"{folder}: none of {', '.join(path.name for path in damaged)} is intact; train again")


def _load(path: Path, kind: str, keys: Collection[str]) -> dict[str, Any]:
    checkpoint = read_torch(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("config"), dict):
        raise UserError(f"{path}: not a checkpoint of this repository; remove it, or train again under another name")
    found = checkpoint["config"].get("kind")
    if found != kind:
        raise UserError(f"{path}: a checkpoint of '{found}', expected one of '{kind}'")
    missing = sorted(set(keys) - checkpoint.keys())
    if missing:
        raise UserError(f"{path}: lacks '{missing[0]}', so it is of another version; train again under another name")
    return checkpoint
