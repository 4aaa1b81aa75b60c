"""AVFF: self-supervised pre-training on real faces, then classification of reals and fakes.

B batch   L audio frames   S side of the frames

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
    OpenAVFF, the public re-implementation.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from avdfd.baselines.avff_start import named_weights, start_finetuning, start_pretraining
from avdfd.config import AugmentConfig, AvffConfig, VisualModelConfig
from avdfd.datasets.element_parts import frames_of, label_of, mel_or_pcm_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.samplers import Epochs, Shuffled
from avdfd.datasets.transforms import (
    FRAME_CHOICE,
    Seeds,
    generators,
    mel_input,
    mel_of,
    noise_and_masks,
    torch_generator,
    video_input,
)
from avdfd.elements import Element, ElementMeta, coded
from avdfd.features.early import spread
from avdfd.features.frames import normalise
from avdfd.training.distributed import Chance
from avdfd.training.state_dicts import read_weights, unwrap
from avdfd.training.visual_weights import load_visual_encoder
from OpenAVFF.adversarial import AdversarialPretraining, Wasserstein, adversarial_losses
from OpenAVFF.fbank import fbank
from OpenAVFF.finetuning import VideoCAVMAEFT
from OpenAVFF.pretraining import Clips, VideoCAVMAE, pretraining_losses
from OpenAVFF.visual_encoder import VisualEncoder

STAGES = ("pretrain", "finetune")
SCORED = ("finetune",)
LABELLED = ("finetune",)


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    audio: Tensor
    """(B, 49152) int16 waveform or (B, 128, 768) log mel, or the normalised filter bank (B, L, 128)."""
    frames: Any
    """(B, 16, 224, 224, 3) uint8, or `Encoded`."""
    label: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    audio: Tensor
    """(B, L, 128) normalised."""
    video: Tensor
    """(B, 3, 16, S, S) uint8."""
    label: Tensor
    """(B,) float, 1 = fake."""


class Pretrained(NamedTuple):
    """Inputs of the pre-training losses: fields of OpenAVFF's `Clips`, then of `Wasserstein` (None without critics)."""

    audio_embedding: Tensor
    video_embedding: Tensor
    audio_error: Tensor
    video_error: Tensor
    generator: Tensor | None = None
    critic: Tensor | None = None
    penalty: Tensor | None = None


class Finetuned(NamedTuple):
    """Inputs of the fine-tuning loss for B elements."""

    logits: Tensor
    """(B, 2): fake, real."""
    label: Tensor
    """(B,)"""


class Inputs(NamedTuple):
    """Input form: sixteen frames, and the mel or filter bank of the same span."""

    audio_input: str
    audio_length: int
    mean: float
    std: float
    image_size: int
    augment: AugmentConfig = AugmentConfig()
    roll: bool = False
    """Use OpenAVFF's augmentation: noise, and a circular shift in time by up to the whole length."""

    @property
    def takes_jpegs(self) -> bool:
        return True

    @property
    def reads(self) -> Reads:
        mel = self.audio_input == "mel"
        return Reads(waveform=not mel, mel=mel, frames=FRAME_CHOICE)

    def raw(self, element: Element) -> Raw:
        if self.audio_input == "mel":
            audio = mel_or_pcm_of(element)
        else:
            audio = fbank(torch.from_numpy(element.waveform), length=self.audio_length, mean=self.mean, std=self.std)
        return Raw(audio, frames_of(element), label_of(element))

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        rngs = None if seeds is None else generators(seeds)
        if self.audio_input == "mel":
            mel = mel_input(mel_of(raw.audio), self.augment, rngs)
            audio = F.interpolate(mel, size=self.audio_length, mode="linear").mT
        else:
            audio = raw.audio if rngs is None else noise_and_masks(raw.audio.mT, self.augment, rngs).mT
        if self.roll and rngs is not None:
            audio = torch.stack([_rolled(one, rng) for one, rng in zip(audio, rngs, strict=True)])
        video = video_input(raw.frames, self.image_size, self.augment, rngs)
        return Batch(audio.contiguous(), video, raw.label)


def _rolled(audio: Tensor, rng: Generator) -> Tensor:
    """Return audio (L, 128) with noise of random strength up to 0.1, circularly shifted in time."""
    noise = torch.rand(audio.shape, generator=torch_generator(rng, audio.device), device=audio.device)
    return (audio + noise * rng.random() / 10).roll(int(rng.integers(-len(audio), len(audio))), dims=0)


def branches(cfg: AvffConfig) -> tuple[str, ...]:
    return ("fused",)


def inputs(cfg: AvffConfig, stage: str, *, train: bool) -> Inputs:
    m = cfg.model
    augment = cfg.augment if train else AugmentConfig()
    roll = train and cfg.faithful
    return Inputs(m.audio_input, m.audio_length, m.fbank_mean, m.fbank_std, m.image_size, augment, roll)


def stages(cfg: AvffConfig) -> tuple[str, ...]:
    return STAGES if cfg.model.openavff is None else STAGES[-1:]


def needs_whole_batch(cfg: AvffConfig) -> bool:
    return cfg.faithful


def batches(cfg: AvffConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    tiers = coded(metas, "tier") if cfg.data.balance_tiers else None
    return Shuffled(len(metas), getattr(cfg, stage).batch_size, cfg.seed, tiers=tiers)


def build(cfg: AvffConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model, m = rebuild(cfg, stage), cfg.model
    named = named_weights(cfg, stage)
    source = m.openavff.file if m.openavff else "pre-training run"
    if isinstance(model, VideoCAVMAEFT):
        state = former if named is None else named
        assert state is not None, "fine-tuning starts from pre-trained weights"
        start_finetuning(model, state, source)
    elif named is not None:
        start_pretraining(model, named, source)
    else:
        autoencoder = model.model if isinstance(model, AdversarialPretraining) else model
        encoder = autoencoder.visual_encoder
        if m.marlin is not None:
            visual = VisualModelConfig(init="marlin", weights=m.marlin.file, sha256=m.marlin.sha256)
            load_visual_encoder(encoder, visual)
        elif not cfg.faithful:
            encoder.init_from_scratch()
    return model


def rebuild(cfg: AvffConfig, stage: str) -> AdversarialPretraining | VideoCAVMAE | VideoCAVMAEFT:
    m = cfg.model
    sizes: dict[str, Any] = {
        "image_size": m.image_size,
        "audio_length": m.audio_length,
        "dim": m.dim,
        "encoder_depth": m.depth,
        "heads": m.heads,
        "visual_qkv_bias": m.marlin is not None,
        "faithful": cfg.faithful,
    }
    if stage == "finetune":
        return VideoCAVMAEFT(**sizes)
    decoder: dict[str, Any] = {
        "decoder_dim": m.decoder_dim,
        "decoder_depth": m.decoder_depth,
        "decoder_heads": m.decoder_heads,
    }
    autoencoder = VideoCAVMAE(**sizes, **decoder)
    if not cfg.loss.adversarial:
        return autoencoder
    return AdversarialPretraining(autoencoder, width=max(8, m.dim // 12))


def published(file: Path) -> dict[str, Tensor]:
    return unwrap(read_weights(file), str(file))


def frozen(model: nn.Module, cfg: AvffConfig, stage: str, device: torch.device) -> None:
    return None


def groups(model: nn.Module, cfg: AvffConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    if not isinstance(model, VideoCAVMAEFT):
        return [(model.parameters(), 1.0)]
    new = set(model.new_parameters())
    parts = ([p for name, p in model.named_parameters() if (name in new) is wanted] for wanted in (False, True))
    return list(zip(parts, (1.0, cfg.finetune.new_lr_scale), strict=True))


def outputs(net: nn.Module, batch: Batch, cfg: AvffConfig, stage: str, chance: Chance) -> Pretrained | Finetuned:
    video = normalise(batch.video, cfg.model.normalisation)
    if stage == "finetune":
        return Finetuned(net(batch.audio, video).logits, batch.label)
    slots = video.shape[2] // VisualEncoder.tubelet
    with_video = chance.order(slots)[: slots // 2]
    if not cfg.loss.adversarial:
        return Pretrained(*net(batch.audio, video, with_video).clips)
    out = net(batch.audio, video, with_video, chance.uniform(2))
    return Pretrained(*out.autoencoder.clips, *out.critics)


def losses(model: nn.Module, out: Pretrained | Finetuned, cfg: AvffConfig, stage: str) -> dict[str, Tensor]:
    weights = cfg.loss
    if isinstance(out, Finetuned):
        target = torch.stack([out.label, 1 - out.label], dim=1)
        return {"loss": F.binary_cross_entropy_with_logits(out.logits.float(), target)}
    own = pretraining_losses(Clips(*out[:4]), rec_weight=weights.reconstruction, nce_weight=weights.contrastive)
    parts = {"nce": own.nce_loss, "match": own.c_acc, "rec_audio": own.rec_loss_a, "rec_video": own.rec_loss_v}
    if out.generator is None or out.critic is None:
        return {"loss": own.total_loss, **parts}
    both = adversarial_losses(
        own.total_loss,
        Wasserstein(out.generator, out.critic, out.penalty),
        adversarial_weight=weights.adversarial,
        penalty_weight=weights.penalty,
    )
    return {"loss": both.total_loss, **parts, "generator": both.generator_loss, "critic": both.critic_loss}


def early(model: nn.Module, batch: Batch, cfg: AvffConfig) -> dict[str, Tensor]:
    assert isinstance(model, VideoCAVMAEFT), "the stage that is scored"
    patches = model.visual_encoder.patch_embedding(normalise(batch.video, cfg.model.normalisation))
    return {"audio": spread(batch.audio), "visual": spread(patches)}


def preview(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.audio.transpose(1, 2), batch.video


def scores(model: nn.Module, batch: Batch, cfg: AvffConfig) -> dict[str, Tensor]:
    logits = model(batch.audio, normalise(batch.video, cfg.model.normalisation)).logits.float()
    # Each column is a logit of its own, of fake and of real. OpenAVFF uses only the first.
    return {"fused": logits[:, 0] if cfg.faithful else (logits[:, 0] - logits[:, 1]) / 2}
