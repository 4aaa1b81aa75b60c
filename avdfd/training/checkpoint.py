"""Where a run goes on, written whole or not at all; and torch files of others, read without running code.

A run's checkpoint is one file with the state of model and training and the config they belong to. It is a plain
`torch.save` of tensors and simple values, so that `weights_only` reading is enough. Weights to be kept and given away
are another file (avdfd/training/weights.py).
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
"""Where a run goes on: after so many epochs, and steps of the next one."""
_KEPT = 2


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Writes a checkpoint atomically, and its sha256 beside it.

    A full disk raises OSError and leaves the former file in place.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    data = buffer.getvalue()
    write_atomic(path, data)
    write_sha256(path, data)


def save_last(folder: Path, checkpoint: dict[str, Any], *, epoch: int, step: int) -> None:
    """Writes where a run goes on, and removes all of these files but this one and the one before it.

    Those that are further than this one were passed over as damaged.
    """
    path = folder / LAST.format(epoch=epoch, step=step)
    save(path, checkpoint)
    before = [other for other in last_files(folder) if other < path]
    for other in {*last_files(folder)} - {path, *before[: _KEPT - 1]}:
        other.unlink()
        sha256_path(other).unlink(missing_ok=True)


def last_files(folder: Path) -> list[Path]:
    """Where a run may go on, the newest first."""
    return sorted(folder.glob("last-*.pt"), reverse=True)


def load_last(folder: Path, kind: str, keys: Collection[str] = ()) -> tuple[dict[str, Any], list[Path]]:
    """The newest of a run's files that is whole, and those that were passed over.

    Raises UserError if none is, or if it is not of this kind or lacks one of the keys.
    """
    passed: list[Path] = []
    for path in last_files(folder):
        if read_sha256(path) == sha256_of(path):  # the sha256 of the last one may not have come to be written
            return _load(path, kind, keys), passed
        passed.append(path)
    raise UserError(f"{folder}: none of {', '.join(path.name for path in passed)} is whole; train again")


def _load(path: Path, kind: str, keys: Collection[str]) -> dict[str, Any]:
    checkpoint = read_torch(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("config"), dict):
        raise UserError(f"{path}: not a checkpoint of this repository; remove it, or train again under another name")
    found = checkpoint["config"].get("kind")
    if found != kind:
        raise UserError(f"{path}: a checkpoint of '{found}', here one of '{kind}' is wanted")
    missing = sorted(set(keys) - checkpoint.keys())
    if missing:
        raise UserError(f"{path}: lacks '{missing[0]}', so not of this version; train again under another name")
    return checkpoint
