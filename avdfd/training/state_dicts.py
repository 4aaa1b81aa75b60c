"""Read files of weights without running their code, and load state dicts strictly.

This module knows no published system: training and scoring models of this repository needs nothing more.
"""

import errno
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of

Weights = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)

# Entries that hold the weights, beside the state of training.
_WRAPPINGS = ("state_dict", "model_state_dict", "model")


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, Any]:
    """Read a safetensors or torch file: a state dict, or a published wrapping of one (see `unwrap`).

    Raises UserError for a missing or damaged file, a file that would run code to load, and a wrong sha256.
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
    content = read_torch(path, shells=True)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict of tensors")
    return content


class _Shell:
    """Placeholder for an object of a training library in a checkpoint: its content is dropped and its code not run."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# Raised by torch's reader for damaged archives and pickles, beside UnpicklingError; found by flipping bits.
_DAMAGED = (
    *(RuntimeError, EOFError, zipfile.BadZipFile, struct.error, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError),
)
_LIBRARIES = ("argparse.", "fairseq.", "lightning.", "lightning_fabric.", "numpy.", "omegaconf.", "pytorch_lightning.")
"""Libraries whose settings published checkpoints contain beside the weights."""
_OLD = ["argparse.Namespace"]
"""Objects in old files of fairseq, which are no archives, so that their objects cannot be listed before loading."""


def read_torch(path: Path, *, shells: bool = False) -> Any:
    """Read a torch file without running code. With `shells`, objects of known libraries become empty placeholders."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, expected a checkpoint file")
    try:
        _refuse_bomb(path)
        empty: list[Any] = []
        if shells:
            zipped = zipfile.is_zipfile(path)
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else _OLD
            empty = [(_Shell, name) for name in found if name.startswith(_LIBRARIES)]
        with torch.serialization.safe_globals(empty):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; run the earlier stage first or correct the path") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path}: not a checkpoint, or one that would run code to load; refused") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # caused by a damaged offset
            raise
        raise UserError(f"{path}: damaged or not a checkpoint; restore it or train again") from None


def _refuse_bomb(path: Path) -> None:
    """Raise UserError for an archive that expands to more than its own size, which torch never writes."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if expanded > size:
        raise UserError(f"{path}: {size} bytes that expand to {expanded}; not written by torch.save, refused")


def unwrap(content: Mapping[str, Any], source: str, branch: str = "") -> dict[str, Tensor]:
    """Return the state dict in published content; `branch` (face or voice) picks one of two networks in one file.

    Raises UserError if it holds anything but dense tensors of finite values.
    """
    for name in (f"{branch}_model_state_dict", *_WRAPPINGS):
        if isinstance(content.get(name), Mapping):
            content = content[name]
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{source}: holds no state dict of tensors")
    _check_tensors(content, source)
    parallel = all(key.startswith("module.") for key in content)
    return {key.removeprefix("module.") if parallel else key: value for key, value in content.items()}


_SHARED = 4
"""How often the bytes of a file may be used: published files have some tensors under two names."""


def _check_tensors(tensors: Weights, source: str) -> None:
    """Raise UserError for a tensor that is no dense array of finite values, and for views that expand few bytes."""
    stored: dict[int, int] = {}
    total = 0
    for key, value in tensors.items():
        check_dense(value, f"{source}: '{key}'")
        storage = value.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        total += value.numel() * value.element_size()
        if value.numel() * value.element_size() > storage.nbytes() or total > _SHARED * sum(stored.values()):
            raise UserError(f"{source}: '{key}' expands to more than the file has; refused")
    for key, value in tensors.items():
        check_finite(value, f"{source}: '{key}'")


def check_dense(value: object, what: str) -> None:
    """Raise UserError for anything but a plain dense tensor with its values in memory."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        raise UserError(f"{what} is no dense tensor; get the file again")


def check_finite(value: Tensor, what: str) -> None:
    """Raise UserError for a tensor with values that are not finite."""
    if not (value.is_floating_point() or value.is_complex()) or bool(torch.isfinite(value.sum())):
        return  # the sum takes a quarter of the time, but that of large finite values may be infinite
    if not bool(torch.isfinite(value).all()):
        raise UserError(f"{what} has values that are not finite; get the file again, or train again")


def check(module: nn.Module, state_dict: Weights, source: str) -> None:
    """Check a state dict against a module. Raises UserError for other keys, shapes or types, and non-finite values.

    A floating-point tensor may have another precision, as published weights have.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - state_dict.keys())
    unexpected = sorted(state_dict.keys() - own.keys(), key=str)
    for what, keys in (("lacks", missing), ("has unexpected", unexpected)):
        _refuse(what, keys, len(own), source)
    for key, value in state_dict.items():
        check_dense(value, f"{source}: '{key}'")
    _refuse("has other shapes for", [k for k in own if own[k].shape != state_dict[k].shape], len(own), source)
    other = [k for k in own if own[k].dtype != state_dict[k].dtype]
    other = [k for k in other if not (own[k].is_floating_point() and state_dict[k].is_floating_point())]
    _refuse("has other types for", other, len(own), source)
    for key, value in state_dict.items():
        check_finite(value, f"{source}: '{key}'")


def _refuse(what: str, keys: list[str], of: int, source: str) -> None:
    if keys:
        raise UserError(
            f"{source}: not a checkpoint of this model: {what} {len(keys)} of {of} keys, e.g. '{keys[0]}'; check the "
            "file and the sizes in the config"
        )


def below(weights: Weights, prefixes: Mapping[str, str], source: str) -> dict[str, Tensor]:
    """Return the entries under these prefixes, renamed: often one module of a larger model."""
    kept = {key: value for key, value in weights.items() if key.startswith(tuple(prefixes))}
    if not kept:
        raise UserError(f"{source}: no '{next(iter(prefixes))}*' keys; these are weights of something else")
    return rename(kept, prefixes)


def rename(state_dict: Weights, prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace the first matching prefix of each key; keys without one stay, and are later reported as unexpected."""
    renamed = {}
    for key, value in state_dict.items():
        old = next((p for p in prefixes if key.startswith(p)), None)
        renamed[key if old is None else prefixes[old] + key.removeprefix(old)] = value
    return renamed


def shallower(state_dict: Weights, blocks: str, depth: int) -> dict[str, Tensor]:
    """Drop the blocks from number `depth` on; `blocks` is the regular expression before the number."""
    number = re.compile(rf"{blocks}\.(?P<number>\d+)\.")
    kept = {}
    for key, value in state_dict.items():
        found = number.match(key)
        if found is None or int(found["number"]) < depth:
            kept[key] = value
    return kept


def fill(module: nn.Module, state_dict: Weights, source: str) -> None:
    """Load a state dict strictly, once `check` has passed it. Raises UserError as `check` does."""
    check(module, state_dict, source)
    module.load_state_dict(dict(state_dict))


class _SizeLimit(TorchFunctionMode):
    """Refuses new tensors with more values in all than a model with the tensors of a file needs."""

    def __init__(self, state_dict: Weights, source: str) -> None:
        super().__init__()
        self._source = source
        self._values = _SLACK + _SHARED * sum(value.numel() for value in state_dict.values())
        self._parameters = _SHARED * len(state_dict) + 64  # some modules register a parameter several times

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _FACTORIES:
            numbers = kwargs.get("size", args)
            numbers = numbers[0] if numbers and isinstance(numbers[0], tuple | list) else numbers
            sizes = [number for number in numbers if isinstance(number, int)]
            self._values -= max(sizes, default=0) if name == "arange" else math.prod(sizes)
        self._check()
        return func(*args, **kwargs)

    def count(self, *_: object) -> None:
        """Count a parameter that a module registers."""
        self._parameters -= 1
        self._check()

    def _check(self) -> None:
        if self._values < 0 or self._parameters < 0:
            raise UserError(
                f"{self._source}: its header states a larger model than it has tensors for; get the file again"
            )


_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn", "arange")
_SLACK = 4_000_000
"""Values that a model may have beside its weights: tables of constants."""


def filled(build: Callable[[], M], state_dict: Weights, source: str) -> M:
    """Build a module and load a state dict strictly, if the sizes of the module are those in the file's own header.

    A forged header cannot ask for more memory than the file's tensors justify. Raises UserError as `check` does.
    """
    limit = _SizeLimit(state_dict, source)
    hook = register_module_parameter_registration_hook(limit.count)
    try:
        with limit:
            module = build()
    except (RuntimeError, OverflowError, AssertionError, ZeroDivisionError) as error:
        raise UserError(f"{source}: its header states sizes of no model ({error}); get the file again") from None
    finally:
        hook.remove()
    fill(module, state_dict, source)
    return module
