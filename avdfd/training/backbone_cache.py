"""What the frozen parts of stage 2 compute of a clip: once, for every epoch, every run and every point of a sweep.

It lies in the element store, in `frozen/<digest>/`, where the digest is of all that it depends on: the frozen weights,
how an element becomes an input, the precision, and the elements themselves. Other weights, another image size or a
store that has grown have a folder of their own; `about.json` says which is which, and any of them can be deleted.
There is no augmentation in it: what is computed once is the same in every epoch.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avdfd.core.errors import UserError
from avdfd.datasets.batches import Feed
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Draw, Share, Shared
from avdfd.datasets.transforms import CLIP_FRAMES, FRAME_CHOICE, normalise
from avdfd.elements import ElementStore
from avdfd.features.mel import MEL_BINS, MEL_FRAMES, WINDOW
from avdfd.models.detector import Detector, Encoded
from avdfd.training import loop
from avdfd.training.array_store import BLOCK, Columns, Form

FOLDER = "frozen"
TOKENS = "float16"
"""Type of the visual tokens, which are layer-normed and 99 % of the bytes. All else is float32."""
_VERSION = 1  # of how an element becomes an input: to be raised with every change of what a model sees
_WRITES_AHEAD = 2


class Encoder(NamedTuple):
    """The frozen parts of a detector, and what goes into them."""

    model: Detector
    inputs: Inputs
    precision: str
    device: torch.device

    @torch.inference_mode()
    def __call__(self, mel: Tensor, video: Tensor) -> Encoded:
        """mel (B, 128, 768), or waveform (B, 49152), and video (B, 3, 16, S, S) uint8 -> what is kept of them."""
        self.model.eval()
        with loop.autocast(self.device, self.precision):
            encoded = self.model.encode(mel, normalise(video))
        return Encoded(*(x.float() for x in encoded))._replace(tokens=encoded.tokens.to(getattr(torch, TOKENS)))

    def identity(self, store: ElementStore) -> dict[str, Any]:
        """All that the values depend on."""
        model = self.model
        spectra = model.audio_encoder.front.spectra
        parts: dict[str, nn.Module] = {
            "visual_encoder.backbone": model.visual_encoder.backbone,
            "audio_encoder": model.audio_encoder,
            "audio_head": model.audio_head,
        }
        return {
            "elements": {"count": len(store), "preprocessing": store.version, "sha256": store.metas.digest()},
            "inputs": {
                "version": _VERSION,
                "image_size": self.inputs.image_size,
                "frames": FRAME_CHOICE,
                "audio": self.inputs.audio,
                **({"spectra": spectra} if spectra else {}),
            },
            "weights": {name: weights_digest(part) for name, part in parts.items()},
            # Weights of the same shapes compute something else with other heads.
            "heads": {name: sorted(heads(part)) for name, part in parts.items()},
            "precision": self.precision if self.device.type == "cuda" else "fp32",
        }

    def forms(self) -> dict[str, Form]:
        """What is kept of a clip: an empty one is encoded."""
        assert self.inputs.image_size is not None, "a detector's inputs have video"
        sound = (1, WINDOW) if self.inputs.audio == "waveform" else (1, MEL_BINS, MEL_FRAMES)
        shape = (1, 3, CLIP_FRAMES, self.inputs.image_size, self.inputs.image_size)
        empty = self(torch.zeros(sound, device=self.device), torch.zeros(shape, dtype=torch.uint8, device=self.device))
        return {k: Form(str(x.dtype).removeprefix("torch."), tuple(x.shape[1:])) for k, x in empty._asdict().items()}


def weights_digest(part: nn.Module) -> str:
    """sha256 of a module's weights, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(part.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def heads(part: nn.Module) -> set[int]:
    """Numbers of heads that the attention in a module has."""
    found = (getattr(m, "heads", getattr(m, "num_heads", None)) for m in part.modules())
    return {n for n in found if isinstance(n, int)}


def open_columns(store: ElementStore, encoder: Encoder) -> Columns:
    """The folder for what this encoder makes of these elements; rows are those of the store."""
    identity, forms = encoder.identity(store), encoder.forms()
    about = {"of": identity, "columns": {name: form._asdict() for name, form in forms.items()}}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return Columns(store.root / FOLDER / digest[:16], forms, len(store), about)


# ---- filling


def fill(
    columns: Columns,
    rows: np.ndarray,
    store: ElementStore,
    encoder: Encoder,
    *,
    workers: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Makes those of some rows that are not there yet, and shares the work with whoever else is at it.

    `advance` is called with the number of rows after each block; it may raise to end the work, which goes on from there
    the next time. Raises UserError if there is no room on the disk, or for an element whose tokens are beyond half
    precision.
    """
    missing = columns.missing(rows)
    columns.check_space(len(missing))
    elements = ElementSet(store, store.metas, encoder.inputs)
    made, seconds = 0, 0.0
    while len(missing):
        claims = _Claims(columns, missing)
        if claims.nothing:  # others are at all that is left
            columns.claim(int(missing[0]) // BLOCK, wait=True)
            columns.release(int(missing[0]) // BLOCK)
            advance(0)
        else:
            feed = Feed(elements, claims, encoder.device, workers=workers)
            for count, took in _make(columns, feed, encoder):
                made, seconds = made + count, seconds + took
                advance(count)
        missing = columns.missing(missing)
    if made > columns.about().get("computed", {}).get("clips", 0):  # a rate of more clips says more
        columns.note(computed={"clips": made, "clips_per_second": made / seconds, "device": encoder.device.type})


class _Claims(Shared):
    """Blocks of missing rows that nobody else is at, claimed one by one as they are asked for: a batch each."""

    def __init__(self, columns: Columns, missing: np.ndarray) -> None:
        blocks = np.split(missing, np.flatnonzero(np.diff(missing // BLOCK)) + 1)
        self._shares, self._draws, ahead = tee(self._claim(columns, blocks), 3)
        self.nothing = next(ahead, None) is None

    def shares(self) -> Iterator[Share]:
        return self._shares

    def __iter__(self) -> Iterator[list[Draw]]:
        return (share.draws for share in self._draws)

    def _claim(self, columns: Columns, blocks: list[np.ndarray]) -> Iterator[Share]:
        for block in blocks:
            if not columns.claim(int(block[0]) // BLOCK):
                continue
            draws = [Draw(row, None) for row in columns.missing(block).tolist()]
            if draws:
                yield Share(draws, len(draws), weight=1.0, last=True, batch=draws)
            else:  # somebody has made them in the meantime
                columns.release(int(block[0]) // BLOCK)


def _make(columns: Columns, feed: Feed, encoder: Encoder) -> Iterator[tuple[int, float]]:
    """Encodes and writes what is claimed; after each block, its rows and the seconds that they took to compute.

    A block is written while the next ones are computed.
    """

    def keep(rows: np.ndarray, encoded: Encoded) -> int:
        columns.write(rows, {name: x.numpy() for name, x in encoded._asdict().items()})
        columns.release(int(rows[0]) // BLOCK)
        return len(rows)

    writing: deque[tuple[Future[int], float]] = deque()
    with ThreadPoolExecutor(1) as writer:
        started = time.monotonic()
        for share, batch in feed:
            rows = np.array([draw.position for draw in share.draws])
            encoded = encoder(batch.mel, batch.video)
            _check_finite(encoded, rows, feed.elements)
            encoded = Encoded(*(x.cpu() for x in encoded))
            writing.append((writer.submit(keep, rows, encoded), time.monotonic() - started))
            if len(writing) > _WRITES_AHEAD:
                count, took = writing.popleft()
                yield count.result(), took
            started = time.monotonic()
        for count, took in writing:
            yield count.result(), took


def _check_finite(encoded: Encoded, rows: np.ndarray, elements: ElementSet) -> None:
    """Raises UserError that names the first element with a number that cannot be kept."""
    for name, values in encoded._asdict().items():
        bad = ~values.reshape(len(rows), -1).isfinite().all(dim=1)
        if bad.any():
            meta = elements.metas[int(rows[int(bad.nonzero()[0])])]
            kind = str(values.dtype).removeprefix("torch.")
            raise UserError(
                f"element {meta.key}: its {name} are not finite as {kind}; train it with cache set to false"
            )
