"""Cache of the features that the frozen parts of a model compute, shared by all epochs, runs and points of a sweep.

It is in the element store, in `frozen/<digest>/`. The digest covers everything that the features depend on: the frozen
weights, how an element becomes an input, the precision, and the elements themselves. Other weights, another image size
or a grown store get a folder of their own; `about.json` describes each, and any of them can be deleted. Cached clips
have no augmentation, as features computed once are the same in every epoch.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import tee
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from avdfd.config import RepresentationConfig
from avdfd.core import fields
from avdfd.core.errors import UserError
from avdfd.datasets import mouths
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, InputForm, Inputs
from avdfd.datasets.samplers import Draw, Share, Shared
from avdfd.datasets.transforms import CLIP_FRAMES, FRAME_CHOICE
from avdfd.elements import ElementStore
from avdfd.features.window import MEL_BINS, MEL_FRAMES, WINDOW
from avdfd.models.detector import Detector
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.training.array_store import BLOCK, ArrayStore, RowFormat
from avdfd.training.build import AnyDetector
from avdfd.training.precision import autocast

FOLDER = "frozen"
TOKENS = "float16"
"""Type of the visual tokens, which are layer-normalised and 99 % of the bytes. The rest is float32."""
_VERSION = 2  # raise it with every change of the model's inputs or of the frozen parts; 1 had logits in half precision
_WRITES_AHEAD = 2


class FrozenPart(Protocol):
    """Frozen part of a model, and its inputs."""

    @property
    def inputs(self) -> InputForm: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def encoded(self) -> type[Any]:
        """NamedTuple that is cached; a field that the part does not compute is None."""

    @property
    def option(self) -> str:
        """Config key by which its features are not cached; empty if they always are."""

    def __call__(self, *inputs: Tensor) -> Any:
        """Inputs of the model as in `Batch.model_inputs` -> `encoded`."""

    def identity(self, store: ElementStore) -> dict[str, Any]:
        """Describe everything that the features depend on."""

    def row_formats(self) -> dict[str, RowFormat]:
        """Return type and shape of each feature of an element."""


class Encoder(NamedTuple):
    """The frozen parts of a detector, and their inputs."""

    model: AnyDetector
    inputs: Inputs
    precision: str
    device: torch.device

    @property
    def encoded(self) -> type[Any]:
        return self.model.encoded

    @property
    def option(self) -> str:
        return "cache"

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Any:
        """Inputs of the model as in `Batch.model_inputs` -> its encoders' output to cache, `model.encoded`."""
        self.model.eval()
        with autocast(self.device, self.precision):
            encoded = self.model.encode(*inputs)
        types = {"tokens": getattr(torch, TOKENS)}
        return type(encoded)(*(x.to(types.get(name, torch.float32)) for name, x in encoded._asdict().items()))

    def identity(self, store: ElementStore) -> dict[str, Any]:
        """Describe everything that the features depend on."""
        model = self.model
        spectra = model.audio_encoder.spectra
        origin = model.audio_encoder.origin if isinstance(model.audio_encoder, SpeechEncoder) else {}
        seen = self.inputs.representation
        modules: dict[str, nn.Module] = {
            "visual_encoder.backbone": model.visual_encoder.backbone,
            "audio_encoder": model.audio_encoder,
            "audio_head": model.audio_head,
        }
        if isinstance(model, Detector):
            modules["consistency"] = model.consistency
            if model.representation is not None and seen.kind != "mouth-shape":
                modules["representation"] = model.representation
        return {
            **described(store, self.precision, self.device),
            "inputs": {
                "version": _VERSION,
                "image_size": self.inputs.image_size,
                "frames": FRAME_CHOICE,
                "normalisation": model.visual_encoder.normalisation,
                "audio": self.inputs.audio,
                **({"spectra": spectra} if spectra else {}),
                **({"front": origin} if origin else {}),
                **({"representation": settings_of(seen)} if seen.encoder is not None else {}),
                **({"deaf": model.deaf} if isinstance(model, Detector) else {}),
            },
            "weights": {name: weights_digest(module) for name, module in modules.items()},
            # The number of heads changes the computation and leaves the shapes of the weights alone.
            "heads": {name: sorted(heads(module)) for name, module in modules.items()},
        }

    def row_formats(self) -> dict[str, RowFormat]:
        """Return type and shape of each feature of a clip, found by encoding an empty one."""
        size = self.inputs.image_size
        assert size is not None, "a detector's inputs have video"
        audio = (1, WINDOW) if self.inputs.audio == "waveform" else (1, MEL_BINS, MEL_FRAMES)
        inputs = [torch.zeros(shape, device=self.device) for shape in (audio, (1, 3, CLIP_FRAMES, size, size))]
        if isinstance(self.model, Detector):
            inputs.append(mouths.blank(self.inputs.representation, self.device))
        return row_formats_of(self(*inputs))


def described(store: ElementStore, precision: str, device: torch.device) -> dict[str, Any]:
    """Describe the elements and the precision that features depend on."""
    return {
        "elements": {"count": len(store), "preprocessing": store.version, "sha256": store.metas.digest()},
        "precision": precision if device.type == "cuda" else "fp32",
    }


def settings_of(cfg: RepresentationConfig) -> dict[str, Any]:
    """Return the settings of a representation, without the name of its file."""
    assert cfg.encoder is not None, "the mouth shape has no settings"
    return {"kind": cfg.kind, **cfg.encoder.model_dump(exclude={"file", "weights"})}


def row_formats_of(batch: Any) -> dict[str, RowFormat]:
    """Return type and shape of the rows of a NamedTuple of tensors (B, ...) or None."""
    there = {name: x for name, x in batch._asdict().items() if x is not None}
    return {name: RowFormat(str(x.dtype).removeprefix("torch."), tuple(x.shape[1:])) for name, x in there.items()}


def weights_digest(module: nn.Module) -> str:
    """Return the sha256 of a module's weights with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def heads(module: nn.Module) -> set[int]:
    """Return the numbers of heads of the attention layers in a module."""
    found = (getattr(m, "heads", getattr(m, "num_heads", None)) for m in module.modules())
    return {n for n in found if isinstance(n, int)}


def open_cache(store: ElementStore, encoder: FrozenPart) -> ArrayStore:
    """Open the cache of this encoder's features of these elements; its rows are those of the store."""
    identity, formats = encoder.identity(store), encoder.row_formats()
    about = {"of": identity, "columns": {name: row._asdict() for name, row in formats.items()}}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return ArrayStore(store.root / FOLDER / digest[:16], formats, len(store), about)


# ---- filling


def fill(
    cache: ArrayStore,
    rows: np.ndarray,
    store: ElementStore,
    encoder: FrozenPart,
    *,
    workers: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Compute the given rows that are missing, sharing the work with other processes that do the same.

    `advance` is called with the number of rows after each block. It may raise to stop; the next call continues from
    there. Raises UserError if the disk has too little space, or for an element whose tokens exceed half precision.
    """
    missing = cache.missing(rows)
    cache.check_space(len(missing), encoder.option)
    elements = ElementSet(store, store.metas, encoder.inputs)
    made, seconds = 0, 0.0
    while len(missing):
        claims = _Claims(cache, missing)
        if claims.nothing:  # other processes compute all that is left
            cache.claim(int(missing[0]) // BLOCK, wait=True)
            cache.release(int(missing[0]) // BLOCK)
            advance(0)
        else:
            batches = Batches(elements, claims, encoder.device, workers=workers)
            for count, took in _make(cache, batches, encoder):
                made, seconds = made + count, seconds + took
                advance(count)
        missing = cache.missing(missing)
    if made > cache.about().get("computed", {}).get("clips", 0):  # a rate over more clips is more accurate
        cache.note(computed={"clips": made, "clips_per_second": made / seconds, "device": encoder.device.type})


class _Claims(Shared):
    """Blocks of missing rows that no other process has claimed, claimed one by one on demand; each is a batch."""

    def __init__(self, cache: ArrayStore, missing: np.ndarray) -> None:
        blocks = np.split(missing, np.flatnonzero(np.diff(missing // BLOCK)) + 1)
        self._shares, self._draws, ahead = tee(self._claim(cache, blocks), 3)
        self.nothing = next(ahead, None) is None

    def shares(self) -> Iterator[Share]:
        return self._shares

    def __iter__(self) -> Iterator[list[Draw]]:
        return (share.draws for share in self._draws)

    def _claim(self, cache: ArrayStore, blocks: list[np.ndarray]) -> Iterator[Share]:
        for block in blocks:
            if not cache.claim(int(block[0]) // BLOCK):
                continue
            draws = [Draw(row, None) for row in cache.missing(block).tolist()]
            if draws:
                yield Share(draws, len(draws), weight=1.0, last=True, batch=draws)
            else:  # another process has computed them in the meantime
                cache.release(int(block[0]) // BLOCK)


def _make(cache: ArrayStore, batches: Batches, encoder: FrozenPart) -> Iterator[tuple[int, float]]:
    """Encode and write the claimed blocks; yield the rows of each block and the seconds to compute them.

    A block is written while the next ones are computed.
    """

    def keep(rows: np.ndarray, encoded: Any) -> int:
        cache.write(rows, {name: x.numpy() for name, x in encoded._asdict().items() if x is not None})
        cache.release(int(rows[0]) // BLOCK)
        return len(rows)

    writing: deque[tuple[Future[int], float]] = deque()
    with ThreadPoolExecutor(1) as writer:
        started = time.monotonic()
        for share, batch in batches:
            rows = np.array([draw.position for draw in share.draws])
            encoded = encoder(*batch.model_inputs)
            _check_finite(encoded, rows, batches.elements, encoder.option)
            encoded = fields.map_tensors(encoded, Tensor.cpu)
            writing.append((writer.submit(keep, rows, encoded), time.monotonic() - started))
            if len(writing) > _WRITES_AHEAD:
                count, took = writing.popleft()
                yield count.result(), took
            started = time.monotonic()
        for count, took in writing:
            yield count.result(), took


def _check_finite(encoded: Any, rows: np.ndarray, elements: ElementSet, option: str) -> None:
    """Raise UserError that names the first element with a value that cannot be stored."""
    for name, values in encoded._asdict().items():
        if values is None:
            continue
        bad = ~values.reshape(len(rows), -1).isfinite().all(dim=1)
        if bad.any():
            meta = elements.metas[int(rows[int(bad.nonzero()[0])])]
            kind = str(values.dtype).removeprefix("torch.")
            remedy = f"train it with {option} set to false" if option else "use other weights or another layer"
            raise UserError(f"element {meta.key}: its {name} are not finite as {kind}; {remedy}")
