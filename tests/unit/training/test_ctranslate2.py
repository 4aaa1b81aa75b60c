"""Whisper's encoder in a file of CTranslate2, written here as that library writes it."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.models.front_ends import Sizes
from avdfd.models.front_ends.whisper import Whisper
from avdfd.training.ctranslate2 import is_ctranslate2, read_whisper

TYPES = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.float16: 4}


def text(name: str) -> bytes:
    raw = name.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def written(variables: Mapping[str, Tensor], spec: str = "WhisperSpec", version: int = 6) -> bytes:
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        data = value.contiguous().numpy().tobytes()
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        parts += [text(name), shape, struct.pack("<BI", TYPES[value.dtype], len(data)), data]
    return b"".join(parts) + struct.pack("<I", 0)


def variables_of(whisper: Whisper) -> dict[str, Tensor]:
    state = whisper.state_dict()
    found = {"decoder/embeddings/weight": torch.zeros(3, 2), "encoder/num_heads": torch.tensor(2, dtype=torch.int16)}
    found["encoder/position_encodings/encodings"] = state["embed_positions.weight"]
    for name in ("conv1", "conv2"):
        found |= {f"encoder/{name}/{leaf}": state[f"{name}.{leaf}"] for leaf in ("weight", "bias")}
    norms = {"encoder/layer_norm": "layer_norm"}
    for i in range(len(whisper.layers)):
        ours, theirs = f"layers.{i}", f"encoder/layer_{i}"
        attention = f"{ours}.self_attn"
        weights = [state[f"{attention}.{part}_proj.weight"] for part in "qkv"]
        query, value = (state[f"{attention}.{part}_proj.bias"] for part in "qv")
        found[f"{theirs}/self_attention/linear_0/weight"] = torch.cat(weights)
        found[f"{theirs}/self_attention/linear_0/bias"] = torch.cat([query, torch.zeros_like(query), value])
        linear = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
        for name, module in linear.items():
            found |= {f"{theirs}/{name}/{leaf}": state[f"{ours}.{module}.{leaf}"] for leaf in ("weight", "bias")}
        norms |= {f"{theirs}/self_attention/layer_norm": f"{ours}.self_attn_layer_norm"}
        norms |= {f"{theirs}/ffn/layer_norm": f"{ours}.final_layer_norm"}
    for name, module in norms.items():
        found |= {f"{name}/gamma": state[f"{module}.weight"], f"{name}/beta": state[f"{module}.bias"]}
    return found


@pytest.fixture(scope="module")
def variables() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return variables_of(Whisper(sizes=Sizes(2, 8, 2, 12, 4)))


def test_weights_are_read_by_the_keys_of_the_module(variables: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(written(variables))
    assert is_ctranslate2(path)
    encoder = read_whisper(path)
    assert encoder.heads == 2
    whisper = Whisper(sizes=Sizes(2, 8, 2, 12, 4))
    whisper.load_state_dict(encoder.state)
    again = variables_of(whisper)
    assert again.keys() == variables.keys()
    assert all(torch.equal(again[name], variables[name]) for name in variables)


def test_half_precision_becomes_float32(variables: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(written({n: v.half() if v.is_floating_point() else v for n, v in variables.items()}))
    state = read_whisper(path).state
    assert {value.dtype for value in state.values()} == {torch.float32}
    torch.testing.assert_close(state["conv1.weight"], variables["encoder/conv1/weight"].half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-200], "bytes, expected|ends within a variable"),
        (lambda data: data[:60], "ends within a variable|has no end|bytes, expected"),
        (lambda data: data.replace(b"WhisperSpec", b"BiggestSpec"), "BiggestSpec of CTranslate2, expected version 6"),
        (lambda data: struct.pack("<I", 5) + data[4:], "version 5 of CTranslate2, expected version 6 of WhisperSpec"),
        (lambda data: data[:22] + struct.pack("<I", 2**31) + data[26:], "states 2147483648 variables"),
    ],
)
def test_damaged_and_foreign_files_are_refused(change, message: str, variables: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(change(written(variables)))
    with pytest.raises(UserError, match=message):
        read_whisper(path)


def test_sizes_cannot_ask_for_more_than_the_file_has(tmp_path: Path):
    data = written({"encoder/conv1/weight": torch.zeros(4)})
    stated = struct.pack("<BI", 1, 4)
    path = tmp_path / "model.bin"
    path.write_bytes(data.replace(stated, struct.pack("<BI", 1, 2**30)))
    with pytest.raises(UserError, match=r"'encoder/conv1/weight' has 16 bytes, expected 4294967296"):
        read_whisper(path)


def test_quantised_and_infinite_weights_are_refused(variables: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(written({**variables, "encoder/conv1/weight": torch.zeros(8, 4, 3, dtype=torch.int8)}))
    with pytest.raises(UserError, match=r"'conv1/weight' is quantised to torch.int8"):
        read_whisper(path)
    path.write_bytes(written({**variables, "encoder/conv1/weight": torch.full((8, 4, 3), torch.inf)}))
    with pytest.raises(UserError, match="not finite"):
        read_whisper(path)
