"""Reconstruction of one window by a pre-training of AVFF: each modality where it is hidden, from the other.

As published, the encoders are given the whole window, and the tokens of the hidden slots are dropped after them.

T = 16 frames   S side of the frames   L frames of audio
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avdfd.baselines import avff
from avdfd.baselines.avff import Batch
from avdfd.config import AvffConfig, MediaConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import prepare, stack, to_device
from avdfd.elements import Element
from avdfd.features.frames import normalise
from avdfd.training import weights
from avdfd.training.distributed import pick_device
from avdfd.training.state_dicts import filled
from OpenAVFF.adversarial import AdversarialPretraining
from OpenAVFF.pretraining import VideoCAVMAE

STAGE = "pretrain"


class Autoencoder(NamedTuple):
    """A pre-trained autoencoder with its config."""

    model: VideoCAVMAE
    config: AvffConfig
    device: torch.device
    media: MediaConfig | None
    """Settings by which the elements of its training were cut from files; None if they are unknown."""


class Views(NamedTuple):
    """One modality, three times."""

    original: np.ndarray
    masked: np.ndarray
    """With the hidden part in grey, or NaN."""
    restored: np.ndarray
    """Reconstruction with the mean and standard deviation of the original's patches."""
    error: float
    """Mean squared error of the normalised targets, hidden or not; that of a constant is 1."""


class Reconstruction(NamedTuple):
    """A window, what the model is given of it, and what it makes of that."""

    video: Views
    """(T, S, S, 3) uint8 RGB."""
    audio: Views
    """(128, L) normalised mel or filter bank, low frequencies first."""
    waveform: np.ndarray
    """(49152,) samples of the window."""


def load_autoencoder(folder: str | Path, device: str = "auto") -> Autoencoder:
    """Load the best model of a run of AVFF's pre-training in eval mode.

    Raises UserError if there is none, if it is damaged, and for other runs.
    """
    path = Path(folder) / BEST
    if not path.is_file():
        raise UserError(f"{folder}: has no {BEST}; --reconstruct takes the run of a pre-training of AVFF")
    facts, state = weights.load(path, "avff")
    if facts.stage != STAGE:
        raise UserError(f"{folder}: the stage {facts.stage} has no decoders; name the run of the stage {STAGE}")
    assert isinstance(facts.config, AvffConfig), "load checks the kind"
    model = filled(partial(avff.rebuild, facts.config, STAGE), state, str(path))
    autoencoder = model.model if isinstance(model, AdversarialPretraining) else model
    assert isinstance(autoencoder, VideoCAVMAE), "the stage has one"
    place = pick_device(device)
    return Autoencoder(autoencoder.to(place).eval(), facts.config, place, facts.media)


@torch.inference_mode()
def reconstruct(autoencoder: Autoencoder, element: Element, seed: int) -> Reconstruction:
    """Reconstruct one window with all its frames; `seed` draws the half of the time slots whose video stays visible."""
    model, cfg = autoencoder.model, autoencoder.config
    inputs = avff.inputs(cfg, STAGE, train=False)
    chosen = inputs.reads.frames
    assert chosen is not None, "AVFF takes frames"
    assert element.frames is not None, "a window with frames"
    raw = stack([inputs.raw(replace(element, frames=element.frames[list(chosen)]))])
    batch: Batch = prepare(inputs, to_device(raw, autoencoder.device), None)
    order = torch.randperm(model.slots, generator=torch.Generator().manual_seed(seed)).tolist()
    with_video = sorted(order[: model.slots // 2])
    out = model(batch.audio, normalise(batch.video, cfg.model.normalisation), with_video)
    pixels = batch.video / 255
    image, video = model.restore(out.audio_recon, out.video_recon, batch.audio, pixels)
    shown_audio, shown_video = model.visible(with_video)
    return Reconstruction(
        _video(pixels, video, shown_video, out.rec_loss_v.item()),
        _audio(batch.audio, image, shown_audio, out.rec_loss_a.item()),
        element.waveform,
    )


def _video(original: Tensor, restored: Tensor, shown: Tensor, error: float) -> Views:
    frames, after = (
        (255 * x[0].clamp(0, 1)).round().byte().permute(1, 2, 3, 0).cpu().numpy() for x in (original, restored)
    )
    masked = np.where(shown.numpy()[:, None, None, None], frames, np.uint8(128))
    return Views(frames, masked, after, error)


def _audio(original: Tensor, restored: Tensor, shown: Tensor, error: float) -> Views:
    image = original[0].T.float().cpu().numpy()
    masked = np.where(shown.numpy(), image, np.float32(np.nan))
    return Views(image, masked, restored[0, 0].float().cpu().numpy(), error)
