"""AV-HuBERT as several systems take it: its inputs from elements, its weights, and its cached features.

B batch   T 77 frames, 25 per second   S side of the mouth crop

The weights are those that the authors published for recognition or pre-training. They are never trained here, so their
features of an element are computed once and kept in the element store.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from avdfd.datasets.element_parts import label_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.transforms import Seeds
from avdfd.elements import Element, ElementStore
from avdfd.features.early import of_maps, spread
from avdfd.features.filterbank import stacked_filterbank
from avdfd.features.frames import normalise
from avdfd.features.mouth_crops import MIDDLE, middle, mouth_crops
from avdfd.features.window import FRAMES
from avdfd.models.avhubert import AUDIO_FEATURES
from avdfd.models.avhubert_features import Features, FrozenAVHubert, Given
from avdfd.training.array_store import RowFormat
from avdfd.training.backbone_cache import described, heads, row_formats_of, weights_digest
from avdfd.training.precision import autocast

KEPT = torch.float16
"""Type of cached features, which are layer-normalised."""

_VERSION = 2  # raise it with every change of the inputs or of the features; 1 took a fixed region of the face


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    mouth: Tensor
    """(B, T, 96, 96) uint8, grey."""
    audio: Tensor
    """(B, T, 104)."""
    label: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    mouth: Tensor
    """(B, 1, T, 88, 88) uint8."""
    audio: Tensor
    """(B, 104, T)."""
    label: Tensor
    """(B,) float, 1 = fake."""

    @property
    def model_inputs(self) -> tuple[Tensor, ...]:
        """Arguments of the frozen part."""
        return self.mouth, self.audio


class Inputs(NamedTuple):
    """Input form: the mouth in all frames, aligned by landmarks, and log filter banks; never augmented."""

    @property
    def reads(self) -> Reads:
        return Reads(waveform=True, mel=False, frames=range(FRAMES), landmarks=True)

    def raw(self, element: Element) -> Raw:
        audio = stacked_filterbank(torch.from_numpy(element.waveform), FRAMES)
        mouth = torch.from_numpy(mouth_crops(element.frames, element.landmarks))
        return Raw(mouth, audio, label_of(element))

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        return Batch(middle(raw.mouth).contiguous(), rearrange(raw.audio, "b t f -> b f t"), raw.label)


def given(batch: Any) -> Given:
    """Return what a model takes of a batch: its cached features, or the encoder's inputs."""
    if isinstance(batch, Batch):
        return normalise(batch.mouth, "lips"), batch.audio
    features: Features = batch.cached
    return features


def early(encoder: FrozenAVHubert, batch: Batch) -> dict[str, Tensor]:
    """Return early features (B, D) of the streams that a system takes: of filter banks, and of the first convolution
    over the mouth.
    """
    found: dict[str, Tensor] = {}
    if encoder.streams != {"video"}:
        found["audio"] = spread(batch.audio.mT)
    if encoder.streams != {"audio"}:
        found["visual"] = of_maps(encoder.avhubert.feature_extractor_video.stem(normalise(batch.mouth, "lips")))
    return found


def preview(batch: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return filter banks and frames for inspection; none of cached features."""
    if not isinstance(batch, Batch):
        return None, None
    return batch.audio, batch.mouth.expand(-1, 3, -1, -1, -1)


class AvHubertPart(NamedTuple):
    """Frozen AV-HuBERT for the cache."""

    model: FrozenAVHubert
    precision: str
    device: torch.device
    inputs: Inputs = Inputs()
    encoded: type[Features] = Features

    @property
    def option(self) -> str:
        return "cache"

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Features:
        """uint8 mouth crops (B, 1, T, 88, 88), filter banks (B, 104, T) -> features to cache."""
        mouth, audio = inputs
        with autocast(self.device, self.precision):
            features = self.model((normalise(mouth, "lips"), audio))
        return Features(*(None if x is None else x.to(KEPT) for x in features))

    def identity(self, store: ElementStore) -> dict[str, Any]:
        """Describe everything that the features depend on."""
        return {
            **described(store, self.precision, self.device),
            "inputs": {"version": _VERSION},
            "weights": {"avhubert": weights_digest(self.model.avhubert)},
            "heads": sorted(heads(self.model.avhubert)),
            "layer": self.model.layer,
            "streams": sorted(self.model.streams),
        }

    def row_formats(self) -> dict[str, RowFormat]:
        """Return type and shape of each feature of an element, found by encoding an empty one."""
        mouth = torch.zeros((1, 1, FRAMES, MIDDLE, MIDDLE), dtype=torch.uint8, device=self.device)
        return row_formats_of(self(mouth, torch.zeros((1, AUDIO_FEATURES, FRAMES), device=self.device)))
