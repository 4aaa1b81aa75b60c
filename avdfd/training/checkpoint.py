"""Where a run goes on, written whole or not at all; and torch files of others, read without running code.

A run's checkpoint is one file with the state of model and training and the config they belong to. It is a plain
`torch.save` of tensors and simple values, so that `weights_only` reading is enough. Weights to be kept and given away
are another file (avdfd/training/weights.py).
"""

import errno
import io
import pickle
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from avdfd.core.errors import UserError
from avdfd.core.files import read_sha256, sha256_of, sha256_path, write_atomic, write_sha256

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
    checkpoint = _read(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("config"), dict):
        raise UserError(f"{path}: not a checkpoint of this repository; remove it, or train again under another name")
    found = checkpoint["config"].get("kind")
    if found != kind:
        raise UserError(f"{path}: a checkpoint of '{found}', here one of '{kind}' is wanted")
    missing = sorted(set(keys) - checkpoint.keys())
    if missing:
        raise UserError(f"{path}: lacks '{missing[0]}', so not of this version; train again under another name")
    return checkpoint


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, Any]:
    """What a safetensors or torch file holds: a state dict, or published wrappings of some
    (avdfd/training/released.py).

    Raises UserError for a missing or damaged file, one that would run code to load, and a wrong sha256.
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
    content = _read(path, shells=True)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict of tensors")
    return content


class _Shell:
    """Stands for an object of a training library inside a checkpoint: nothing of it is kept, nothing of it runs."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# What torch's reader raises for damaged archives and pickles beside UnpicklingError, by flipping their bits.
_DAMAGED = (
    *(RuntimeError, EOFError, zipfile.BadZipFile, struct.error, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError),
)
_LIBRARIES = ("argparse.", "fairseq.", "lightning.", "lightning_fabric.", "numpy.", "omegaconf.", "pytorch_lightning.")
"""Trainers whose settings stand beside the weights in what people publish."""


def _read(path: Path, *, shells: bool = False) -> Any:
    """With `shells`, objects of known training libraries are let in as empty shells; all other code is refused."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, a checkpoint file is wanted")
    try:
        empty: list[Any] = []
        if shells and zipfile.is_zipfile(path):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            empty = [(_Shell, name) for name in found if name.startswith(_LIBRARIES)]
        with torch.serialization.safe_globals(empty):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; run the earlier stage first or correct the path") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path}: not a checkpoint, or one that would run code to load; refused") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # what a damaged offset leads to
            raise
        raise UserError(f"{path}: damaged or not a checkpoint; restore it or train again") from None
