"""Frames that are decoded on the device, from the JPEGs that loader processes read.

torchvision decodes them: on a GPU by nvJPEG, all frames of a batch at once, and on a CPU by libjpeg. Resizing and
augmentation are those of `avdfd.datasets.transforms` in either case.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avdfd.core import fields
from avdfd.elements.form import decode_frame, encode_frame
from avdfd.features.window import FACE_SIZE

MOST_APART = 2
"""Levels of 255 by which decoders may differ in a value, as they round at other places."""


class Encoded(NamedTuple):
    """JPEGs of B clips with T frames each."""

    data: Tensor
    """(B, L) uint8: those of a clip one after the other, and zeros up to the longest clip."""
    sizes: Tensor
    """(B, T) int64, bytes of each."""


def decode(encoded: Encoded, device: torch.device) -> Tensor:
    """Decode JPEGs on a device: frames (B, T, 224, 224, 3) uint8. Raises RuntimeError if one cannot be decoded."""
    # Imported here, as it takes a second, and few runs decode on a device.
    from torchvision.io import ImageReadMode, decode_jpeg

    jpegs = [one for row, sizes in zip(*encoded, strict=True) for one in row[: int(sizes.sum())].split(sizes.tolist())]
    images = torch.stack(decode_jpeg(jpegs, mode=ImageReadMode.RGB, device=device))
    return images.unflatten(0, encoded.sizes.shape).permute(0, 1, 3, 4, 2)


def decoded_on(raw: Any, device: torch.device) -> Any:
    """Move a raw batch to a device, and decode there what is encoded of it. Raises RuntimeError as `decode` does."""
    made = {
        name: decode(value, device) if isinstance(value, Encoded) else None if value is None else _moved(value, device)
        for name, value in raw._asdict().items()
    }
    return type(raw)(**made)


def problem_of(device: torch.device) -> str:
    """Return why a device cannot decode JPEGs, after decoding one; empty if it can."""
    wave = np.sin(np.arange(FACE_SIZE) / 9)
    levels = 127 + 60 * wave[:, None] + 60 * wave
    frame = np.stack([levels, levels.T[::-1], 255 - levels], axis=-1).astype(np.uint8)
    jpeg = np.frombuffer(encode_frame(frame, 90), np.uint8).copy()
    expected = torch.from_numpy(decode_frame(jpeg))
    try:
        found = decode(Encoded(torch.from_numpy(jpeg)[None], torch.tensor([[len(jpeg)]])), device)[0, 0].cpu()
    except RuntimeError as error:
        return f"nvJPEG does not work here: {str(error).splitlines()[0][:120]}"
    apart = int((found.int() - expected.int()).abs().max())
    return "" if apart <= MOST_APART else f"nvJPEG differs from the CPU by {apart} of 255"


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return fields.map_tensors(value, lambda x: x.to(device, non_blocking=True))
