"""Elements of a split as batches of tensors."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avdfd.config import AugmentConfig, RunConfig
from avdfd.datasets.samplers import Draw
from avdfd.datasets.splits import assign, check_classes, read_splits
from avdfd.datasets.tiers import AUDIO_CLASS
from avdfd.datasets.transforms import FRAME_CHOICE, mel_input, video_input
from avdfd.elements import Element, ElementMeta, ElementStore


class Batch(NamedTuple):
    """Tensors of B elements."""

    mel: Tensor
    """(B, 128, 768) z-scored."""
    video: Tensor | None
    """(B, 3, 16, S, S) uint8, or None when the model takes no video."""
    label: Tensor
    """(B,) float, 1 = fake."""
    audio_class: Tensor
    """(B,) 0 real, then growing distance of the voice from real; -1 for tiers without such a class."""

    def to(self, device: torch.device) -> "Batch":
        mel, label, audio_class = (x.to(device, non_blocking=True) for x in (self.mel, self.label, self.audio_class))
        video = None if self.video is None else self.video.to(device, non_blocking=True)
        return Batch(mel, video, label, audio_class)


class Inputs(NamedTuple):
    """What a model needs of an element."""

    image_size: int | None
    """Side of the frames; None for models that hear only."""
    augment: AugmentConfig = AugmentConfig()
    per_frame: bool = False
    """Augment every frame by itself, as released (faithful mode)."""

    def example(self, element: Element, rng: np.random.Generator | None) -> Batch:
        """One element as a batch without the batch dimension; augmented if a generator is given.

        The label of an element without metadata, a video that nobody has labelled, is NaN.
        """
        meta = element.meta
        video = None
        if self.image_size is not None:
            video = video_input(element.frames, self.image_size, self.augment, rng, per_frame=self.per_frame)
        return Batch(
            mel=mel_input(element.mel, self.augment, rng),
            video=video,
            label=torch.tensor(float(meta.label) if meta else torch.nan),
            audio_class=torch.tensor(AUDIO_CLASS.get(meta.tier, -1) if meta else -1),
        )


class ElementSet(Dataset[Batch]):
    """Chosen elements of a store, indexed by draws."""

    def __init__(self, store: ElementStore, metas: list[ElementMeta], inputs: Inputs) -> None:
        self.store = store
        self.metas = metas
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.metas)

    def __getitem__(self, draw: Draw) -> Batch:
        frames = None if self.inputs.image_size is None else FRAME_CHOICE
        element = self.store.read(self.metas[draw.position].key, frames=frames)
        rng = None if draw.seed is None else np.random.default_rng(draw.seed)
        return self.inputs.example(element, rng)


def split_metas(
    config: RunConfig, store: ElementStore, split: str, tiers: Iterable[str] | None = None
) -> list[ElementMeta]:
    """Elements of a split: RVRA and the given fake tiers (default: those of the config). Checks all splits.

    Raises UserError for overlapping splits and for a split without both classes.
    """
    wanted = {"RVRA", *(config.data.fake_tiers if tiers is None else tiers)}
    source = config.data.splits
    members = assign(store.metas, read_splits(source), source)
    metas = [store.metas[i] for i in members[split] if store.metas[i].tier in wanted]
    check_classes(metas, split, source)
    return metas


def loader(elements: ElementSet, batches: Sampler[list[Draw]], workers: int, device: torch.device) -> DataLoader[Any]:
    """Batches in the order that the sampler says."""
    return DataLoader(
        elements,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )


def collate(examples: list[Batch]) -> Batch:
    """Stacks examples along a new first dimension."""
    mel, video, label, audio_class = zip(*examples, strict=True)
    return Batch(
        mel=torch.stack(mel),
        video=None if video[0] is None else torch.stack(video),
        label=torch.stack(label),
        audio_class=torch.stack(audio_class),
    )
