"""Foreign and damaged files in place of a checkpoint."""

import io
import os
import pickle
import zipfile

import torch


class Bomb:
    """Object that creates the folder `exploded` when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def torch_file(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "hello")
    return buffer.getvalue()


def flipped(data: bytes, part: float) -> bytes:
    """Return data with one bit flipped at a relative position (0 to 1)."""
    changed = bytearray(data)
    changed[int(len(data) * part)] ^= 4
    return bytes(changed)


_CONTENT = {"config": {"kind": "train"}, "model": {"w": torch.ones(2)}, "x": Bomb()}
FOREIGN = {
    "empty": b"",
    "text": b"just some text, nothing else",
    "zip": _other_zip(),
    "torch": torch_file([1, 2]),
    "pickle bomb": pickle.dumps(_CONTENT),
    "torch bomb": torch_file(_CONTENT),
}
