"""VFD: voice-face matching on real clips of many identities, then fine-tuning on fakes.

B batch   S side of the face

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195 (2022); ACM TOMM 20 (3), 2023.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.baselines import vfd_inputs
from avdfd.baselines.released import load
from avdfd.config import AugmentConfig, VfdConfig
from avdfd.core.errors import UserError
from avdfd.datasets.element_parts import frames_of, label_of, pcm_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.samplers import Epochs, Paired, Shuffled
from avdfd.datasets.transforms import FRAME_CHOICE, Rngs, Seeds, floats, generators
from avdfd.elements import Element, ElementMeta, coded, window_labels
from avdfd.features.early import spread
from avdfd.features.mel import zscore
from avdfd.features.window import FRAMES
from avdfd.models import vfd_losses
from avdfd.models.vfd import VoiceFace
from avdfd.models.vfd2023 import PatchTransformer
from avdfd.training.distributed import Chance
from avdfd.training.state_dicts import read_weights

STAGES = ("match", "finetune")
SCORED = ("match", "finetune")
LABELLED = ("finetune",)

_SHARE = 0.1
"""Share of a batch in the running mean and variance of distances."""
_FLOOR = 1e-6  # of power, before its logarithm


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    voice: Tensor
    """(B, 49152) int16 waveform, or the dB mel (B, 512, 301) of a VFD folder."""
    frames: Any
    """(B, n, 224, 224, 3) uint8, or `Encoded`."""
    label: Tensor
    fake_voice: Tensor
    fake_face: Tensor
    identity: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    voice: Tensor
    """(B, 1, bins, frames) mel."""
    face: Tensor
    """(B, 3, S, S) uint8."""
    label: Tensor
    """(B,) float, 1 = fake."""
    fake_voice: Tensor
    """(B,) bool, False if the voice is known to be real."""
    fake_face: Tensor
    """(B,) bool, False if the face is known to be real."""
    identity: Tensor
    """(B,) a number per identity."""


class Outputs(NamedTuple):
    """Embeddings (B, E) of voices and faces, and the labels of `Batch`."""

    voice: Tensor
    face: Tensor
    label: Tensor
    fake_voice: Tensor
    fake_face: Tensor
    identity: Tensor


class Inputs(NamedTuple):
    """Input form: the voice of the middle 3 s (2022) or 2.56 s (2023) and the middle frame; random ones in training."""

    year: int
    image_size: int
    train: bool = False
    augment: AugmentConfig = AugmentConfig()

    @property
    def takes_jpegs(self) -> bool:
        return True

    @property
    def reads(self) -> Reads:
        return Reads(waveform=True, mel=False, frames=FRAME_CHOICE if self.train else [FRAMES // 2])

    def raw(self, element: Element) -> Raw:
        """Raises UserError for an element of a VFD folder if the year is 2023."""
        meta, from_folder = element.meta, element.waveform is None
        if from_folder and self.year == 2023:
            raise UserError(
                "a VFD folder holds the voice features of 2022; for VFD 2023 use elements or a list of images, or set "
                "model.year to 2022"
            )
        return Raw(
            voice=torch.from_numpy(element.mel) if from_folder else pcm_of(element),
            frames=frames_of(element),
            label=label_of(element),
            fake_voice=torch.tensor(meta is None or meta.window.audio > 0),
            fake_face=torch.tensor(meta is None or meta.window.video > 0),
            identity=torch.tensor(zlib.crc32(meta.identities[0].encode()) if meta else -1),
        )

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        rngs = None if seeds is None else generators(seeds)
        frame = vfd_inputs.one_frame(raw.frames, rngs)
        face_of = vfd_inputs.face_2022 if self.year == 2022 else vfd_inputs.face_2023
        face = face_of(frame, self.image_size, self.augment, rngs)
        return Batch(self.voice(raw.voice, rngs)[:, None], face, *raw[2:])

    def voice(self, audio: Tensor, rngs: Rngs | None) -> Tensor:
        """Return the mels of the year (B, bins, frames); a VFD folder already has those of 2022."""
        if audio.dtype != torch.int16:
            return vfd_inputs.normalise_mel_2022(audio)
        if self.year == 2022:
            samples = floats(vfd_inputs.cut(audio, vfd_inputs.VOICE_2022, rngs))
            return vfd_inputs.normalise_mel_2022(vfd_inputs.mel_db_2022(samples))
        return vfd_inputs.mel_2023(floats(vfd_inputs.cut(audio, vfd_inputs.VOICE_2023, rngs)))


class Matcher(nn.Module):
    """Both networks, and a monotonic map from their distance to a logit of being fake.

    The map keeps the ranking; it is learned beside the networks and gives them no gradient.
    """

    def __init__(self, networks: VoiceFace, *, frozen: bool = False) -> None:
        super().__init__()
        self.networks = networks.requires_grad_(not frozen)
        self.frozen = frozen
        self.spread = nn.BatchNorm1d(1, affine=False, momentum=_SHARE)
        self._settled = False
        self.log_slope = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def train(self, mode: bool = True) -> "Matcher":
        """As nn.Module.train, but frozen networks stay in eval mode."""
        super().train(mode)
        if self.frozen:
            self.networks.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, E) of voices and faces."""
        return self.networks(batch.voice, self._normalised(batch.face))

    def _normalised(self, face: Tensor) -> Tensor:
        return (vfd_inputs.normalise_2022 if self.networks.year == 2022 else vfd_inputs.normalise_2023)(face)

    def early(self, batch: Batch) -> dict[str, Tensor]:
        """Return early features (B, D): of the voice's mel, and of the first convolution over the face."""
        mel, face = batch.voice[:, 0], self.networks.face
        if self.networks.year == 2023:  # power, of any level
            mel = zscore((mel + _FLOOR).log())
        first = face.conv1 if isinstance(face, PatchTransformer) else face.get_submodule("features.0")
        maps = first(self._normalised(batch.face))
        return {"audio": spread(mel.mT), "visual": spread(rearrange(maps, "b d h w -> b (h w) d"))}

    def logit(self, distance: Tensor) -> Tensor:
        """Distances (B,) -> logits (B,) of being fake."""
        if self.training and not self._settled:
            self._settle()
        return self.log_slope.exp() * self.spread(distance.detach()[:, None])[:, 0] + self.offset

    def _settle(self) -> None:
        """Give the first batches equal shares in the running mean and variance, which start at 0 and 1.

        Otherwise distances in the hundreds are far from that mean after a few batches, and all scores are 1.
        """
        share = max(_SHARE, 1 / (1 + int(self.spread.num_batches_tracked or 0)))
        self.spread.momentum = share
        self._settled = share == _SHARE


def branches(cfg: VfdConfig) -> tuple[str, ...]:
    return ("fused",)


def inputs(cfg: VfdConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs(cfg.model.year, cfg.model.image_size, train, cfg.augment if train else AugmentConfig())


def stages(cfg: VfdConfig) -> tuple[str, ...]:
    if cfg.model.frozen:
        return STAGES[:1]
    return STAGES if cfg.model.face is None else STAGES[1:]


def needs_whole_batch(cfg: VfdConfig) -> bool:
    return cfg.faithful and cfg.model.year == 2022


def batches(cfg: VfdConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    size = getattr(cfg, stage).batch_size
    if stage == "match":
        identities = coded(metas, "identities")
        if len({identities.values[code][0] for code in np.unique(identities.codes)}) < 2:
            raise UserError(
                f"{cfg.data.splits}: voice-face matching contrasts identities, but a split has one: it takes two for "
                "training and two for validation; add identities, and make the lists with make_splits.py vfd"
            )
        return Shuffled(len(metas), size, cfg.seed)
    fakes = int(window_labels(metas).sum())
    return Paired(
        metas, min(size, fakes), cfg.seed, source=cfg.data.splits, balance=cfg.data.balance_tiers, by=cfg.pair_by
    )


def build(cfg: VfdConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model = rebuild(cfg, stage)
    m = cfg.model
    if former is not None:
        model.load_state_dict(former)
    elif m.face is not None and m.voice is not None:
        for name, weights in (("face", m.face), ("voice", m.voice)):
            if not Path(weights.file).is_file():
                raise UserError(f"{weights.file}: no such file; get the authors' weights, or set model.{name}.file")
            state = read_weights(weights.file, sha256=weights.sha256)
            network = load(f"vfd{m.year}-{name}", state, **_released_sizes(cfg))
            getattr(model.networks, name).load_state_dict(network.state_dict())
    return model


def _released_sizes(cfg: VfdConfig) -> dict[str, int]:
    """Sizes for released weights: the published ones, but a network of 2023 may have fewer layers."""
    return {"layers": cfg.model.depth} if cfg.model.year == 2023 and cfg.model.depth else {}


def rebuild(cfg: VfdConfig, stage: str) -> Matcher:
    m = cfg.model
    networks = VoiceFace(
        year=m.year,
        image_size=m.image_size,
        dim=m.dim,
        depth=m.depth,
        heads=m.heads,
        mlp_dim=m.mlp_dim,
        out_dim=m.out_dim,
        width=m.width,
        faithful=cfg.faithful,
    )
    return Matcher(networks, frozen=m.frozen)


def published(file: Path) -> dict[str, Tensor]:
    raise UserError(
        f"{file}: VFD's checkpoints are two networks without a threshold; name them in model.face and model.voice, set "
        "model.frozen to true, and run --stage match (config/released/vfd.json)"
    )


def frozen(model: nn.Module, cfg: VfdConfig, stage: str, device: torch.device) -> None:
    return None


def groups(model: nn.Module, cfg: VfdConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    return [(model.parameters(), 1.0)]


def outputs(net: nn.Module, batch: Batch, cfg: VfdConfig, stage: str, chance: Chance) -> Outputs:
    voice, face = net(batch)
    return Outputs(voice, face, batch.label, batch.fake_voice, batch.fake_face, batch.identity)


def losses(model: nn.Module, out: Outputs, cfg: VfdConfig, stage: str) -> dict[str, Tensor]:
    assert isinstance(model, Matcher)
    distance, label = model.networks.distance(out.voice, out.face), out.label
    if stage == "match":
        loss = match_loss(out.voice, out.face, out.identity, cfg)
        # Pairs that do not match serve as fakes.
        other = out.identity != out.identity.roll(1)
        distance = torch.cat([distance, model.networks.distance(out.voice, out.face.roll(1, 0))])
        label = torch.cat([torch.zeros_like(other), other]).float()
    else:
        loss = finetune_loss(out, cfg)
    calibration = F.binary_cross_entropy_with_logits(model.logit(distance), label)
    return {"loss": loss + calibration, "matching": loss, "calibration": calibration}


def match_loss(voice: Tensor, face: Tensor, identity: Tensor, cfg: VfdConfig) -> Tensor:
    """Contrastive loss of each voice (B, E) against the faces (B, E) of all other identities in the batch."""
    same = vfd_losses.same_identity(identity)
    if cfg.model.year == 2022:
        return vfd_losses.triplet_in_batch(voice, face, same, cfg.loss.margin)
    return vfd_losses.info_nce_in_batch(voice, face, same, cfg.loss.temperature)


def finetune_loss(out: Outputs, cfg: VfdConfig) -> Tensor:
    """Contrastive loss; the first half of the batch is real, the second holds a fake of the same identity for each.

    2022: a real voice should be nearer to its face than to the fake one. Beyond the released code, a real face should
    also be nearer to its voice than to the fake one, as a voice-cloned clip has no fake face to learn from.
    2023: a real pair is contrasted with `negatives` fake pairs of the batch.
    """
    n = len(out.voice) // 2
    (voice, other_voice), (face, other_face) = out.voice.split(n), out.face.split(n)
    if cfg.model.year == 2023:
        shifts = torch.arange(min(cfg.loss.negatives, n), device=voice.device)
        chosen = (torch.arange(n, device=voice.device)[:, None] + shifts) % n
        return vfd_losses.info_nce_pairs(voice, face, other_voice[chosen], other_face[chosen], cfg.loss.temperature)
    if cfg.faithful:
        return vfd_losses.triplet(voice, face, other_face, cfg.loss.margin)
    hinges = torch.cat(
        [_hinge(voice, face, other_face, cfg.loss.margin), _hinge(face, voice, other_voice, cfg.loss.margin)]
    )
    fake = torch.cat([out.fake_face[n:], out.fake_voice[n:]])
    # A mask instead of indexing, which would wait for the GPU to count them.
    return (hinges * fake).sum() / fake.sum()


def _hinge(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Triplet loss per sample: (B,)."""
    near, far = (vfd_losses.euclidean_distance(anchor, other) for other in (positive, negative))
    return F.relu(near - far + margin)


def early(model: nn.Module, batch: Batch, cfg: VfdConfig) -> dict[str, Tensor]:
    assert isinstance(model, Matcher)
    return model.early(batch)


def preview(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.voice[:, 0], batch.face[:, :, None]


def scores(model: nn.Module, batch: Batch, cfg: VfdConfig) -> dict[str, Tensor]:
    assert isinstance(model, Matcher)
    return {"fused": model.logit(model.networks.distance(*model(batch)))}
