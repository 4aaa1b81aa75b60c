"""Read the encoder of Whisper from a `model.bin` of CTranslate2, without that library.

The file, little-endian: version (uint32), name of the model, revision (uint32), number of variables (uint32); for each
variable its name, rank (uint8), sizes (uint32 each), type (uint8), number of bytes (uint32) and values; then aliases. A
name is its length (uint16) and that many bytes, the last of which is 0.
"""

import math
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.training.state_dicts import check_finite

_VERSION = 6
_TYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}
_SPEC = "WhisperSpec"
_MOST_VARIABLES = 100_000
_HIGHEST_RANK = 4
_ENCODER = "encoder/"
_NAMES = {
    "conv1/": "conv1.",
    "conv2/": "conv2.",
    "position_encodings/encodings": "embed_positions.weight",
    "layer_norm/": "layer_norm.",
}
_OF_LAYER = {
    "self_attention/layer_norm/": "self_attn_layer_norm.",
    "self_attention/linear_1/": "self_attn.out_proj.",
    "ffn/layer_norm/": "final_layer_norm.",
    "ffn/linear_0/": "fc1.",
    "ffn/linear_1/": "fc2.",
}
_LEAVES = {"gamma": "weight", "beta": "bias"}


class Encoder(NamedTuple):
    """The encoder of a file."""

    state: dict[str, Tensor]
    """Weights by the keys of `avdfd.models.front_ends.whisper`, float32."""
    heads: int | None
    """Attention heads, if the file states them."""


def is_ctranslate2(path: Path) -> bool:
    """Return True for a file that begins as those of CTranslate2."""
    with path.open("rb") as file:
        start = file.read(6)
    return len(start) == 6 and 1 <= struct.unpack("<I", start[:4])[0] <= 64 and start[5:6] == b"\0"


def read_whisper(path: Path) -> Encoder:
    """Read the encoder; the decoder is skipped. Raises UserError for a damaged, foreign or quantised file."""
    try:
        with path.open("rb") as file:
            variables = _variables(file, path)
    except struct.error:
        raise UserError(f"{path}: damaged, it ends within a variable; get the file again") from None
    heads = variables.pop("num_heads", None)
    state: dict[str, Tensor] = {}
    for name, value in variables.items():
        if value.dtype in (torch.int8, torch.int16):
            raise UserError(f"{path}: '{name}' is quantised to {value.dtype}; take a conversion to float16 or float32")
        if value.is_floating_point():
            check_finite(value, f"{path}: '{name}'")
        state |= _renamed(name, value.float())
    return Encoder(state, None if heads is None else int(heads))


def _variables(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """Read the variables of the encoder, by their names without `encoder/`."""
    size = os.fstat(file.fileno()).st_size
    version, *_ = _read(file, "<I")
    spec = _name(file, path) if version == _VERSION else None
    if spec != _SPEC:
        found = f"version {version}" if spec is None else spec
        raise UserError(f"{path}: {found} of CTranslate2, expected version {_VERSION} of {_SPEC}; convert it again")
    _read(file, "<I")  # revision of the spec
    count, *_ = _read(file, "<I")
    if count > _MOST_VARIABLES:
        raise UserError(f"{path}: states {count} variables; get the file again")
    kept: dict[str, Tensor] = {}
    for _ in range(count):
        name = _name(file, path)
        (rank,) = _read(file, "<B")
        if rank > _HIGHEST_RANK:
            raise UserError(f"{path}: '{name}' has {rank} dimensions; get the file again")
        shape = _read(file, f"<{rank}I")
        kind, count_bytes = _read(file, "<BI")
        if kind not in _TYPES:
            raise UserError(f"{path}: '{name}' has type {kind}, which is not known; get the file again")
        expected = math.prod(shape) * _TYPES[kind].itemsize
        if count_bytes != expected or file.tell() + count_bytes > size:
            raise UserError(f"{path}: '{name}' has {count_bytes} bytes, expected {expected}; get the file again")
        if not name.startswith(_ENCODER) or not count_bytes:
            file.seek(count_bytes, os.SEEK_CUR)
            continue
        kept[name.removeprefix(_ENCODER)] = torch.frombuffer(
            bytearray(file.read(count_bytes)), dtype=_TYPES[kind]
        ).reshape(shape)
    return kept


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a variable of the encoder by the keys of the module. Foreign names stay and are refused later."""
    found = re.fullmatch(r"layer_(\d+)/(.*)", name)
    prefix, rest, names = ("", name, _NAMES) if found is None else (f"layers.{found[1]}.", found[2], _OF_LAYER)
    if rest in ("self_attention/linear_0/weight", "self_attention/linear_0/bias"):
        # Queries, keys and values in one. CTranslate2 adds a bias of zeros to keys, which have none.
        query, key, value_part = value.chunk(3)
        leaf = rest.rpartition("/")[2]
        parts = {f"{prefix}self_attn.q_proj.{leaf}": query, f"{prefix}self_attn.v_proj.{leaf}": value_part}
        return parts if leaf == "bias" and not key.any() else {**parts, f"{prefix}self_attn.k_proj.{leaf}": key}
    for old, new in names.items():
        if rest.startswith(old):
            leaf = rest.removeprefix(old)
            return {f"{prefix}{new}{_LEAVES.get(leaf, leaf)}": value}
    return {name: value}


def _read(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _name(file: BinaryIO, path: Path) -> str:
    (length,) = _read(file, "<H")
    raw = file.read(length)
    if len(raw) != length or not raw.endswith(b"\0"):
        raise UserError(f"{path}: damaged, a name has no end; get the file again")
    try:
        return raw[:-1].decode("ascii")
    except UnicodeDecodeError:
        raise UserError(f"{path}: damaged, a name is not ASCII; get the file again") from None
