"""Elements of a split as model inputs: read from disk, then prepared and augmented."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avdfd.config import AugmentConfig, RepresentationConfig, SynchronyConfig
from avdfd.core import fields
from avdfd.core.errors import UserError
from avdfd.datasets import mouths
from avdfd.datasets.element_parts import audio_class_of, frames_of, label_of, mel_or_pcm_of, pcm_of
from avdfd.datasets.samplers import Draw
from avdfd.datasets.transforms import (
    FRAME_CHOICE,
    Rngs,
    Seeds,
    floats,
    generators,
    mel_input,
    mel_of,
    shift_out_of_sync,
    video_input,
)
from avdfd.datasets.waveforms import RoundTrip, augmented_windows
from avdfd.elements import Element, ElementMeta
from avdfd.elements.protocol import Store
from avdfd.features.patches import Front, Patches
from avdfd.features.window import FRAMES

B = TypeVar("B", bound=tuple)


class Reads(NamedTuple):
    """Fields of an element to read."""

    waveform: bool = False
    mel: bool = True
    """The waveform, which is smaller, takes its place if a GPU computes the mel."""
    mel_err: bool = False
    frames: Sequence[int] | None = None
    """Indices of the face frames; None for no frames."""
    landmarks: bool = False
    encoded: bool = False
    """Read frames as JPEGs, which the device decodes."""

    @property
    def video(self) -> bool:
        """True if anything is read that shows the video."""
        return self.frames is not None or self.landmarks


class InputForm(Protocol):
    """How a model's inputs are made from elements. It is sent to loader processes, so it has to be picklable.

    Reading and decoding (`raw`) are separate from augmentation (`prepare`): raw examples can be kept in memory or sent
    to a GPU, and are prepared there.
    """

    @property
    def reads(self) -> Reads: ...

    def raw(self, element: Element) -> Any:
        """Read an element as a NamedTuple of tensors.

        Their shapes are the same for all elements of a store of windows. Those of whole clips may differ in the first
        dimension, and `stack` pads them.

        The label (1 = fake) is NaN for an element without metadata, which is of an unlabelled video.
        """

    def prepare(self, raw: Any, seeds: Seeds | None) -> Any:
        """Turn stacked raw examples into a batch for the model, on the same device.

        With seeds, each clip is augmented by its own seed; without, none is. A clip does not depend on the others.
        """


@runtime_checkable
class WaveformForm(Protocol):
    """An `InputForm` that may augment waveforms, on the processor: loader processes then prepare for a GPU, too."""

    @property
    def augments_waveforms(self) -> bool: ...


@runtime_checkable
class EncodedForm(Protocol):
    """An `InputForm` whose `raw` may be given JPEGs in place of frames, and then has them in its result (`Encoded`)."""

    @property
    def takes_jpegs(self) -> bool: ...


class Raw(NamedTuple):
    """B elements as the two stages read them."""

    audio: Tensor
    """(B, 49152) int16 waveform, or (B, 128, 768) log mel or mel_err; (B, N, K) patches with `Inputs.front`."""
    frames: Any
    """(B, 16, 224, 224, 3) uint8, or None for models without video; `Encoded` until the device has decoded them."""
    label: Tensor
    fake_modalities: Tensor
    audio_class: Tensor
    shape: Tensor | None = None
    """(B, 77, 120) float32 mouth shape, or what another representation takes (`avdfd.datasets.mouths`); None for models
    without it."""


class Batch(NamedTuple):
    """B clips as the two stages take them: audio and video, or in their place what frozen parts computed of them."""

    mel: Tensor | None
    """(B, 128, 768) z-scored mel or mel_err, or (B, 49152) waveform, as the model takes it; None if cached."""
    video: Tensor | None
    """(B, 3, 16, S, S) uint8; None if `cached` covers it, and for models without video."""
    label: Tensor
    """(B,) float, 1 = fake: the label of the window, not of its clip."""
    fake_modalities: Tensor
    """(B, 2) float, 1 = fake, of the window's audio and video; 1 for both if it is not known which of them is."""
    audio_class: Tensor
    """(B,) 0 real, then growing distance of the voice from real; -1 for tiers without such a class."""
    cached: tuple[Tensor, ...] | None = None
    """Output of the frozen parts, which the model takes in place of the mel (`Patches`) or of all (`Encoded`)."""
    shape: Tensor | None = None
    """(B, 77, 120) float32 mouth shape at 25 a second, or what another representation takes
    (`avdfd.models.representations`); None if `cached` covers it, and for models without it."""

    @property
    def model_inputs(self) -> tuple[Any, ...]:
        """Arguments of the model's forward: audio, then video and mouth shape if it takes them."""
        first = self.mel if self.cached is None else self.cached
        return (first, *(one for one in (self.video, self.shape) if one is not None))


class Inputs(NamedTuple):
    """The `InputForm` of the two stages."""

    image_size: int | None
    """Side of the frames; None for models without video."""
    augment: AugmentConfig = AugmentConfig()
    per_frame: bool = False
    """Augment each frame separately, as in the released code (faithful mode)."""
    audio: Literal["mel", "mel_err", "waveform"] = "mel"
    """Audio representation that the model takes."""
    synchrony: SynchronyConfig | None = None
    """Makes some augmented clips out of sync."""
    front: Front | None = None
    """Compute the patches of the audio when an element is read, so that they can be kept in memory in its place. Only
    for models without video and without augmentation, where they are the same in every epoch."""
    shape: bool = False
    """Add the mouth shape. It is that of the stored landmarks, whatever augmentation does to the frames: a mirrored
    video has the shape of the original."""
    representation: RepresentationConfig = RepresentationConfig()
    """Representation of the mouth; `shape` adds what it takes."""
    round_trip: RoundTrip | None = None
    """Applies the codecs of augmented waveforms."""

    @property
    def augments_waveforms(self) -> bool:
        return self.augment.waveform is not None

    @property
    def takes_jpegs(self) -> bool:
        return not (self.shape and mouths.takes_frames(self.representation))

    @property
    def reads(self) -> Reads:
        frames = None if self.image_size is None else FRAME_CHOICE
        every = self.shape and mouths.takes_frames(self.representation)
        audio = {field: field == self.audio for field in ("waveform", "mel", "mel_err")}
        return Reads(
            **audio,
            frames=range(FRAMES) if every else frames,
            landmarks=self.shape and mouths.takes_landmarks(self.representation),
        )

    def raw(self, element: Element) -> Raw:
        meta = element.meta
        of = {"waveform": pcm_of, "mel": mel_or_pcm_of, "mel_err": lambda element: torch.from_numpy(element.mel_err)}
        audio, frames = of[self.audio](element), None if self.image_size is None else frames_of(element)
        if isinstance(frames, Tensor) and self.shape and mouths.takes_frames(self.representation):
            frames = frames[FRAME_CHOICE]  # all of them were read
        return Raw(
            audio=audio if self.front is None else self._patches(self.front, audio),
            frames=frames,
            label=label_of(element),
            fake_modalities=torch.tensor(
                meta.window.modalities if meta else (torch.nan, torch.nan), dtype=torch.float32
            ),
            audio_class=torch.tensor(audio_class_of(meta) if meta else -1),
            shape=mouths.read(element, self.representation) if self.shape else None,
        )

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        if self.front is not None:
            return Batch(None, None, raw.label, raw.fake_modalities, raw.audio_class, Patches(raw.audio))
        changed = self.augment != AugmentConfig() or self.synchrony is not None
        rngs = generators(seeds) if seeds is not None and changed else None
        video = None
        if raw.frames is not None and self.image_size is not None:
            video = video_input(raw.frames, self.image_size, self.augment, rngs, per_frame=self.per_frame)
        audio, label, fake = self._audio(raw.audio, rngs), raw.label, raw.fake_modalities
        shape = None if raw.shape is None else mouths.prepare(raw.shape, self.representation)
        if self.synchrony is not None and rngs is not None and video is not None:
            audio, video, shape, label = shift_out_of_sync(audio, video, shape, label, self.synchrony, rngs)
            # Neither modality is fake, but if the shift shows anywhere, it does in the video.
            fake = torch.stack([fake[:, 0], torch.maximum(fake[:, 1], label - raw.label)], dim=1)
        return Batch(audio, video, label, fake, raw.audio_class, shape=shape)

    def _audio(self, audio: Tensor, rngs: Rngs | None) -> Tensor:
        """Audio (B, ...) as it is read -> as the model takes it."""
        if self.audio != "waveform":
            return mel_input(mel_of(audio), self.augment, rngs)
        changes = self.augment.waveform
        if rngs is None or changes is None:
            return floats(audio)
        return augmented_windows(floats(audio), changes, rngs, self.round_trip)

    @torch.inference_mode()
    def _patches(self, front: Front, audio: Tensor) -> Tensor:
        """Audio of one element -> its patches (N, K)."""
        assert self.augment == AugmentConfig(), "patches are computed once, and so without augmentation"
        return front(self._audio(audio[None], None)).values[0].clone()


def prepare(form: InputForm, raw: Any, seeds: Seeds | None) -> Any:
    """Prepare a batch. A CPU prepares clip by clip, so that intermediate results stay in its cache."""
    if raw[0].device.type != "cpu":
        return form.prepare(raw, seeds)
    clips = []
    for i in range(len(raw[0])):
        one = fields.map_tensors(raw, itemgetter(slice(i, i + 1)))
        clips.append(form.prepare(one, None if seeds is None else seeds[i : i + 1]))
    return fields.combine(clips, torch.cat)


def stack(examples: Sequence[B]) -> B:
    """Stack NamedTuples of tensors along a new first dimension; None stays None.

    Tensors of unequal length, those of whole clips, are padded with zeros at the end of their first dimension.
    """
    return fields.combine(examples, _stack)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    equal = len({tensor.shape for tensor in tensors}) == 1
    return torch.stack([*tensors]) if equal else pad_sequence([*tensors], batch_first=True)


def to_device(batch: B, device: torch.device) -> B:
    """Move a NamedTuple of tensors to a device."""
    return fields.map_tensors(batch, lambda x: x.to(device, non_blocking=True))


class ElementSet:
    """Selected elements of a store, and how they become model inputs.

    Raises UserError if these need frames or landmarks and the store has none.
    """

    def __init__(self, store: Store, metas: Sequence[ElementMeta], inputs: InputForm) -> None:
        if inputs.reads.frames is not None and not store.has_frames:
            raise UserError(
                f"{store.root}: its elements are audio alone, and this model takes frames; make elements of "
                "videos, with frames in media.keep"
            )
        if inputs.reads.landmarks and not store.has_landmarks:
            raise UserError(f"{store.root}: has no landmarks: add landmarks to media.keep and run data/preprocess.py")
        self.store = store
        self.metas = metas
        self.inputs = inputs
        self.augments_waveforms = isinstance(inputs, WaveformForm) and inputs.augments_waveforms

    def __len__(self) -> int:
        return len(self.metas)

    def raw(self, positions: Sequence[int], reads: Reads | None = None) -> Any:
        """Read the raw batch of the elements at these positions; `reads` replaces the fields that `inputs` reads."""
        wanted = (reads or self.inputs.reads)._asdict()
        if not wanted["encoded"]:
            del wanted["encoded"]  # other stores than `ElementStore` have decoded frames only
        return stack([self.inputs.raw(self.store.read(self.metas[i].key, **wanted)) for i in positions])

    def prepare(self, raw: Any, draws: Sequence[Draw]) -> Any:
        """Prepare the batch of these draws from its raw batch."""
        return prepare(self.inputs, raw, seeds_of(draws))

    def batch(self, draws: Sequence[Draw]) -> Any:
        """Read and prepare the batch of these draws."""
        return self.prepare(self.raw([draw.position for draw in draws]), draws)

    def not_finite(self, draws: Sequence[Draw]) -> list[str]:
        """Return key and clip of the elements of these draws that have inputs that are not finite, once prepared."""
        bad = [self.metas[draw.position] for draw in draws if not _is_finite(self.batch([draw]))]
        return [f"{meta.key} (clip {meta.source})" for meta in bad]


def _is_finite(batch: Any) -> bool:
    """Return whether all inputs of a batch are finite. A label that is not known is NaN and does not count."""
    inputs = batch._replace(**{name: None for name in batch._fields if name.startswith(("label", "fake"))})
    found: list[bool] = []
    fields.map_tensors(inputs, lambda x: found.append(bool(x.isfinite().all())))
    return all(found)


def seeds_of(draws: Sequence[Draw]) -> Seeds | None:
    """Return the seeds of a batch; None if it is not augmented."""
    seeds = [draw.seed for draw in draws if draw.seed is not None]
    assert len(seeds) in (0, len(draws)), "a batch is augmented as a whole or not at all"
    return seeds or None
