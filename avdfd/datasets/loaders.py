"""Elements of a split as batches of tensors."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avdfd.config import AugmentConfig, RunConfig
from avdfd.datasets.samplers import Draw
from avdfd.datasets.splits import assign, check_classes, of_tiers, read_splits, take
from avdfd.datasets.stores import Store
from avdfd.datasets.tiers import AUDIO_CLASS
from avdfd.datasets.transforms import FRAME_CHOICE, mel_input, video_input
from avdfd.elements import Element, ElementMeta

B = TypeVar("B", bound=tuple)


class Reads(NamedTuple):
    """Which parts of an element are read."""

    waveform: bool = False
    mel: bool = True
    mel_err: bool = False
    frames: Sequence[int] | None = None
    """Numbers of the face frames; None for no frames."""


class InputForm(Protocol):
    """What a model needs of an element, and how it becomes tensors. Sent to loader processes, so it is picklable."""

    @property
    def reads(self) -> Reads: ...

    def example(self, element: Element, rng: np.random.Generator | None) -> Any:
        """One element as a NamedTuple of tensors without batch dimension; augmented if a generator is given.

        The label (1 = fake) of an element without metadata, a video that nobody has labelled, is NaN.
        """

    def collate(self, examples: list[Any]) -> Any:
        """Examples as one batch."""


class Batch(NamedTuple):
    """Tensors of B elements, as the two stages take them."""

    mel: Tensor
    """(B, 128, 768) z-scored mel, or mel_err for a model of that."""
    video: Tensor | None
    """(B, 3, 16, S, S) uint8, or None when the model takes no video."""
    label: Tensor
    """(B,) float, 1 = fake."""
    audio_class: Tensor
    """(B,) 0 real, then growing distance of the voice from real; -1 for tiers without such a class."""


class Inputs(NamedTuple):
    """The `InputForm` of the two stages."""

    image_size: int | None
    """Side of the frames; None for models that hear only."""
    augment: AugmentConfig = AugmentConfig()
    per_frame: bool = False
    """Augment every frame by itself, as released (faithful mode)."""
    audio: Literal["mel", "mel_err"] = "mel"
    """What is heard."""

    @property
    def reads(self) -> Reads:
        frames = None if self.image_size is None else FRAME_CHOICE
        return Reads(mel=self.audio == "mel", mel_err=self.audio == "mel_err", frames=frames)

    def example(self, element: Element, rng: np.random.Generator | None) -> Batch:
        meta = element.meta
        video = None
        if self.image_size is not None:
            video = video_input(element.frames, self.image_size, self.augment, rng, per_frame=self.per_frame)
        return Batch(
            mel=mel_input(element.mel if self.audio == "mel" else element.mel_err, self.augment, rng),
            video=video,
            label=label_of(element),
            audio_class=torch.tensor(AUDIO_CLASS.get(meta.tier, -1) if meta else -1),
        )

    def collate(self, examples: list[Batch]) -> Batch:
        return stack(examples)


def label_of(element: Element) -> Tensor:
    """The label of an element as a float, 1 = fake, NaN where it is not known."""
    return torch.tensor(float(element.meta.label) if element.meta else torch.nan)


def stack(examples: list[B]) -> B:
    """NamedTuples of tensors as one, stacked along a new first dimension; what is None stays None."""
    columns = zip(*examples, strict=True)
    made: Any = (None if column[0] is None else torch.stack(column) for column in columns)
    return type(examples[0])(*made)


def to_device(batch: B, device: torch.device) -> B:
    """A NamedTuple of tensors on a device."""
    moved: Any = (None if x is None else x.to(device, non_blocking=True) for x in batch)
    return type(batch)(*moved)


class ElementSet(Dataset[Any]):
    """Chosen elements of a store, indexed by draws."""

    def __init__(self, store: Store, metas: Sequence[ElementMeta], inputs: InputForm) -> None:
        self.store = store
        self.metas = metas
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.metas)

    def __getitem__(self, draw: Draw) -> Any:
        element = self.store.read(self.metas[draw.position].key, **self.inputs.reads._asdict())
        rng = None if draw.seed is None else np.random.default_rng(draw.seed)
        return self.inputs.example(element, rng)


def split_metas(
    config: RunConfig, store: Store, split: str, tiers: Iterable[str] | None = None
) -> Sequence[ElementMeta]:
    """Elements of a split: RVRA and the given fake tiers (default: those of the config). Checks all splits.

    Raises UserError for overlapping splits, and for a split without real elements or, if fakes are wanted, without
    fakes.
    """
    wanted = {"RVRA", *(config.data.fake_tiers if tiers is None else tiers)}
    members = assign(store.metas, read_splits(config.data.splits))
    metas = of_tiers(take(store.metas, members[split]), wanted)
    check_classes(metas, split, config.data.splits, fakes=wanted != {"RVRA"})
    return metas


def loader(elements: ElementSet, batches: Sampler[list[Draw]], workers: int, device: torch.device) -> DataLoader[Any]:
    """Batches in the order that the sampler says."""
    return DataLoader(
        elements,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=elements.inputs.collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else it draws on the global one, more often without workers than with
    )
