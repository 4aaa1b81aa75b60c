"""Countermeasures against spoofed speech, which score audio alone.

AASIST, AASIST-L, RawNet2 and LFCC-LCNN; SSL + AASIST and SLS on a pretrained speech encoder.

B batch   S samples

They take `model.samples` of a waveform, 4.04 s as published. A window, which is shorter, is repeated from its start, as
they do with short files; of a whole clip they take the first samples, in training some at a random place.

References:
    Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022.
    Yamagishi et al., "ASVspoof 2021: Accelerating Progress in Spoofed and Deepfake Speech Detection", 2021.
    Tak et al., "Automatic Speaker Verification Spoofing and Deepfake Detection Using Wav2vec 2.0 and Data
    Augmentation", Odyssey 2022.
    Zhang et al., "Audio Deepfake Detection with Self-Supervised XLS-R and SLS Classifier", ACM Multimedia 2024.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from avdfd.config import CountermeasureConfig, WaveformAugmentConfig
from avdfd.config.countermeasure import SslConfig
from avdfd.core.errors import UserError
from avdfd.datasets.element_parts import label_of, pcm_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.samplers import Epochs, Shuffled
from avdfd.datasets.transforms import Seeds, floats, generators
from avdfd.datasets.waveforms import augmented
from avdfd.elements import Element, ElementMeta, ElementStore, coded
from avdfd.features.early import of_audio
from avdfd.media.codecs import round_trip
from avdfd.models import lcnn
from avdfd.models.aasist import SIZES, Aasist, Nodes, ResidualBlock
from avdfd.models.front_ends.wav2vec2 import Wav2Vec2
from avdfd.models.rawnet2 import RawNet2
from avdfd.models.sls import Sls
from avdfd.models.ssl_aasist import SslAasist
from avdfd.training.array_store import RowFormat
from avdfd.training.backbone_cache import described, row_formats_of, weights_digest
from avdfd.training.distributed import Chance
from avdfd.training.front_ends import ARCHS, stated_sizes
from avdfd.training.front_keys import of_wav2vec2
from avdfd.training.precision import autocast
from avdfd.training.state_dicts import fill, read_weights, unwrap

STAGES = ("train",)
SCORED = ("train",)
LABELLED = ("train",)

_ENCODER = "ssl_model.model."
_AT_ONCE = 4  # clips whose features are computed together
_VERSION = 1  # raise it with every change of the inputs or of the frozen encoder


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    audio: Tensor
    """(B, S) int16; 0 beyond a clip's end."""
    length: Tensor
    """(B,) samples of each clip."""
    label: Tensor
    fake_audio: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    waveform: Tensor
    """(B, S) in [-1, 1]."""
    label: Tensor
    """(B,) float, 1 = fake."""
    fake_audio: Tensor
    """(B,) float, 1 = the audio is fake, or may be."""

    @property
    def model_inputs(self) -> tuple[Tensor]:
        """Arguments of the network, and of its frozen part."""
        return (self.waveform,)


class Outputs(NamedTuple):
    """Logits (B,) of being fake, and whether the audio is."""

    logit: Tensor
    fake_audio: Tensor


class Inputs(NamedTuple):
    """Input form: the waveform, repeated or cut to a number of samples."""

    samples: int
    augment: WaveformAugmentConfig | None = None

    @property
    def augments_waveforms(self) -> bool:
        return self.augment is not None

    @property
    def reads(self) -> Reads:
        return Reads(waveform=True, mel=False)

    def raw(self, element: Element) -> Raw:
        audio, meta = pcm_of(element), element.meta
        fake_audio = torch.tensor(1.0 if meta is None else float(meta.window.audio > 0))
        return Raw(audio, torch.tensor(len(audio)), label_of(element), fake_audio)

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        rngs = [None] * len(raw.audio) if seeds is None else generators(seeds)
        clips = zip(raw.audio, raw.length.tolist(), rngs, strict=True)
        audio = torch.stack([self._clip(floats(one[:length]), rng) for one, length, rng in clips])
        return Batch(audio, raw.label, raw.fake_audio)

    def _clip(self, audio: Tensor, rng: Generator | None) -> Tensor:
        """Audio of one clip (S,) -> augmented if there is a generator, of `samples`."""
        if rng is not None and self.augment is not None:
            audio = augmented(audio, self.augment, rng, round_trip)
        return fitted(audio, self.samples, rng)


def fitted(audio: Tensor, samples: int, rng: Generator | None) -> Tensor:
    """Return `samples` of audio (S,): it is repeated if it is shorter, cut if it is longer.

    It is cut at the start, or at a random place if there is a generator.
    """
    if len(audio) < samples:
        return audio.repeat(-(-samples // len(audio)))[:samples]
    start = 0 if rng is None else int(rng.integers(len(audio) - samples + 1))
    return audio[start : start + samples]


class EncoderPart(NamedTuple):
    """AASIST's frozen encoder for the cache: a `FrozenPart`."""

    model: Aasist
    precision: str
    device: torch.device
    inputs: Inputs
    encoded: type[Nodes] = Nodes

    @property
    def option(self) -> str:
        return "model.frozen_encoder"

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Nodes:
        """Waveform (B, S) -> nodes to cache, computed a few clips at a time, as a clip takes a gigabyte of memory."""
        (waveform,) = inputs
        self.model.eval()
        with autocast(self.device, self.precision):
            few = [self.model.nodes(some) for some in waveform.split(_AT_ONCE)]
        return Nodes(*(torch.cat(parts).float() for parts in zip(*few, strict=True)))

    def identity(self, store: ElementStore) -> dict[str, Any]:
        """Describe everything that the features depend on."""
        parts = {"first_bn": self.model.first_bn, "encoder": self.model.encoder}
        blocks = (block for block in self.model.encoder.modules() if isinstance(block, ResidualBlock))
        return {
            **described(store, self.precision, self.device),
            "inputs": {"version": _VERSION, "samples": self.inputs.samples},
            "weights": {name: weights_digest(part) for name, part in parts.items()},
            "activated": [block.activated for block in blocks],
        }

    def row_formats(self) -> dict[str, RowFormat]:
        """Return type and shape of each feature of an element, found by encoding an empty one."""
        return row_formats_of(self(torch.zeros((1, self.inputs.samples), device=self.device)))


def branches(cfg: CountermeasureConfig) -> tuple[str, ...]:
    return ("audio",)


def inputs(cfg: CountermeasureConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs(cfg.model.samples, cfg.augment.waveform if train else None)


def stages(cfg: CountermeasureConfig) -> tuple[str, ...]:
    return STAGES


def needs_whole_batch(cfg: CountermeasureConfig) -> bool:
    return False


def batches(cfg: CountermeasureConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    tiers = coded(metas, "tier") if cfg.data.balance_tiers else None
    return Shuffled(len(metas), cfg.train.batch_size, cfg.seed, tiers=tiers)


def frozen(model: nn.Module, cfg: CountermeasureConfig, stage: str, device: torch.device) -> EncoderPart | None:
    if not cfg.model.frozen_encoder:
        return None
    assert isinstance(model, Aasist), "checked with the config"
    return EncoderPart(model, cfg.train.precision, device, Inputs(cfg.model.samples))


def build(cfg: CountermeasureConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model, weights, ssl = rebuild(cfg, stage), cfg.model.weights, cfg.model.ssl
    if weights is not None:
        released = unwrap(read_weights(weights.file, sha256=weights.sha256), weights.file)
        fill(model, from_released(released), weights.file)
    elif isinstance(model, SslAasist | Sls):
        assert ssl is not None, "checked with the config"
        if ssl.weights is None:
            raise UserError(
                f"model.ssl.weights: {cfg.model.arch} starts from a pretrained {ssl.arch}: name its file, or the whole "
                "network's in model.weights"
            )
        file = ssl.weights.file
        pretrained = unwrap(read_weights(file, sha256=ssl.weights.sha256), file)
        fill(model.ssl_model, ARCHS["ssl"][ssl.arch].keys(pretrained), file)
    return model


def rebuild(cfg: CountermeasureConfig, stage: str) -> nn.Module:
    if cfg.model.ssl is not None:
        return _on_encoder(cfg, cfg.model.ssl)
    if cfg.model.arch == "rawnet2":
        return RawNet2(faithful=cfg.faithful)
    if cfg.model.arch == "lfcc-lcnn":
        return lcnn.Lcnn()
    return Aasist(**SIZES[cfg.model.arch], faithful=cfg.faithful, frozen=cfg.model.frozen_encoder)


def _on_encoder(cfg: CountermeasureConfig, ssl: SslConfig) -> SslAasist | Sls:
    arch = ARCHS["ssl"][ssl.arch]
    sizes = stated_sizes("ssl", ssl.arch, ssl.sizes, key="model.ssl.sizes")
    encoder = arch.build(sizes)
    assert isinstance(encoder, Wav2Vec2), "w2v-BERT is none of the config's"
    if cfg.model.arch == "ssl-aasist":
        return SslAasist(encoder, sizes.dim, faithful=cfg.faithful)
    return Sls(encoder, sizes.dim, samples=cfg.model.samples, faithful=cfg.faithful)


def published(file: Path) -> dict[str, Tensor]:
    return from_released(unwrap(read_weights(file), str(file)))


def from_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return released weights of any of the networks under the keys of ours.

    Those of a pretrained encoder have fairseq's names; what only its pretraining uses is dropped. Other keys stay, and
    are reported when they are loaded.
    """
    encoder = {key.removeprefix(_ENCODER): value for key, value in weights.items() if key.startswith(_ENCODER)}
    others = {key: value for key, value in weights.items() if not key.startswith(_ENCODER)}
    ours = {f"ssl_model.{key}": value for key, value in of_wav2vec2(encoder).items()}
    return {**lcnn.from_released(others), **ours}


def groups(model: nn.Module, cfg: CountermeasureConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    return [((parameter for parameter in model.parameters() if parameter.requires_grad), 1.0)]


def outputs(net: nn.Module, batch: Any, cfg: CountermeasureConfig, stage: str, chance: Chance) -> Outputs:
    fake_audio = batch.fake_audio if isinstance(batch, Batch) else batch.fake_modalities[:, 0]
    return Outputs(_difference(net(*batch.model_inputs)), fake_audio)


def losses(model: nn.Module, out: Outputs, cfg: CountermeasureConfig, stage: str) -> dict[str, Tensor]:
    """Cross-entropy over both classes, a mean weighted by class, as published."""
    real = cfg.loss.real_weight
    weight = out.fake_audio * (1 - real) + (1 - out.fake_audio) * real
    each = F.binary_cross_entropy_with_logits(out.logit, out.fake_audio, reduction="none")
    return {"loss": (weight * each).sum() / weight.sum()}


def early(model: nn.Module, batch: Batch, cfg: CountermeasureConfig) -> dict[str, Tensor]:
    return {"audio": of_audio(batch.waveform)}


def preview(batch: Any) -> tuple[Tensor | None, None]:
    return (batch.waveform if isinstance(batch, Batch) else None), None


def scores(model: nn.Module, batch: Any, cfg: CountermeasureConfig) -> dict[str, Tensor]:
    return {"audio": score_of(model(*batch.model_inputs), cfg)}


def score_of(logits: Tensor, cfg: CountermeasureConfig) -> Tensor:
    """Output of a network -> logits (B,) of being fake.

    The published score of both AASISTs is the logit of real alone. That of SLS orders clips as the difference does.
    """
    alone = cfg.faithful and cfg.model.arch in (*SIZES, "ssl-aasist")
    return -logits[:, 1] if alone else _difference(logits)


def _difference(logits: Tensor) -> Tensor:
    """Logits (B, 2) of fake and real, or (B, 1) of real -> logits (B,) of fake against real."""
    return logits[:, 0] - logits[:, 1] if logits.shape[1] == 2 else -logits[:, 0]
