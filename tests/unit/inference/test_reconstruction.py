"""Reconstructions of AVFF's pre-training, and their drawings."""

import io

import av
import cv2
import numpy as np
import pytest
import torch

from avdfd.baselines import avff
from avdfd.config import AvffConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.elements import Element
from avdfd.features.mel import log_mel as mel_of
from avdfd.features.window import FRAMES, WINDOW
from avdfd.inference.reconstruction import Reconstruction, Views, load_autoencoder, reconstruct
from avdfd.report import reconstruction
from avdfd.training import weights
from avdfd.training.weights import RunFacts

MODEL = {
    "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
    "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
PLAIN = {"adversarial": 0.0}


@pytest.fixture
def run(tmp_path):
    """Write the run of an untrained model; return its folder."""

    def run(stage="pretrain", model=None, **changes):
        data = {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]}
        cfg = parse({"name": "x", "data": data, "model": {**MODEL, **(model or {})}, **changes}, AvffConfig, "test")
        torch.manual_seed(0)
        state = avff.rebuild(cfg, stage).state_dict()
        weights.save(tmp_path / stage / BEST, state, RunFacts(config=cfg, stage=stage, git="unknown"))
        return tmp_path / stage

    return run


@pytest.fixture(scope="module")
def element():
    rng = np.random.default_rng(0)
    waveform = rng.uniform(-0.5, 0.5, WINDOW).astype(np.float32)
    frames = np.repeat(np.repeat(rng.integers(0, 256, (FRAMES, 28, 28, 3), np.uint8), 8, 1), 8, 2)
    return Element(meta=None, waveform=waveform, mel=mel_of(torch.from_numpy(waveform)).numpy(), frames=frames)


@pytest.mark.parametrize(
    "changes",
    [{}, {"loss": PLAIN}, {"faithful": True, "loss": PLAIN, "model": {"audio_input": "fbank"}}],
    ids=["adversarial", "plain", "released"],
)  # fmt: skip
def test_a_window_is_reconstructed_under_the_mask_of_its_seed(changes, run, element):
    autoencoder = load_autoencoder(run(**changes), "cpu")
    made, again, other = (reconstruct(autoencoder, element, seed) for seed in (1, 1, 2))
    assert made.video.original.shape == made.video.masked.shape == made.video.restored.shape == (16, 32, 32, 3)
    assert made.audio.original.shape == made.audio.masked.shape == made.audio.restored.shape == (128, 128)
    hidden = (made.video.masked == 128).all(axis=(1, 2, 3))
    assert hidden.sum() == 8
    assert np.array_equal(made.video.masked[~hidden], made.video.original[~hidden])
    assert np.isnan(made.audio.masked).mean() == 0.5
    if "faithful" not in changes:
        assert np.array_equal(np.isnan(made.audio.masked[0]), ~hidden.repeat(8)), "what one lacks, the other has"
    assert np.array_equal(made.video.restored, again.video.restored)
    assert not np.array_equal(made.video.masked, other.video.masked)
    assert made.video.error > 0
    assert made.audio.error > 0


def test_other_runs_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="the stage finetune has no decoders; name the run of the stage pretrain"):
        load_autoencoder(run("finetune"), "cpu")
    with pytest.raises(UserError, match=r"none: has no best\.safetensors; --reconstruct takes the run"):
        load_autoencoder(tmp_path / "none", "cpu")


@pytest.fixture
def made():
    """A window of a dark video with a bright second frame and audio, hidden in its second half."""
    frames = np.full((16, 32, 32, 3), 20, np.uint8)
    frames[1] = (200, 60, 60)
    masked = frames.copy()
    masked[8:] = 128
    audio = np.linspace(0, 1, 128)[:, None].repeat(64, 1)
    part = audio.copy()
    part[:, 32:] = np.nan
    video = Views(frames, masked, frames, 0.5)
    return Reconstruction(video, Views(audio, part, audio, 0.25), np.zeros(WINDOW, np.float32))


def test_the_image_has_three_columns(made):
    image = cv2.imdecode(np.frombuffer(reconstruction.draw(made, ".png"), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] == 3 * 448 + 2 * 12
    top = 28
    for column in range(3):
        left = column * 460
        frames = [image[top + 112 * row + 56, left + 112 * place + 56] for row in range(4) for place in range(4)]
        assert np.array_equal(frames[1], [60, 60, 200]), "BGR"
        hidden = [np.array_equal(frame, [128, 128, 128]) for frame in frames]
        assert hidden == [False] * 8 + [column == 1] * 8
        below = image[top + 448 + 12 + 72, left : left + 448]
        assert np.array_equal(below[400], [128, 128, 128]) is (column == 1)
        assert not np.array_equal(below[40], [128, 128, 128])


def test_the_video_shows_every_frame_and_plays_the_audio(made):
    with av.open(io.BytesIO(reconstruction.draw(made, ".mp4"))) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
    assert len(frames) == FRAMES
    middle = [frame[28 + 224, 224] for frame in frames]
    bright = [number for number, pixel in enumerate(middle) if pixel[0] > 150]
    assert bright == [number for number in range(FRAMES) if number * 16 // FRAMES == 1]
    assert frames[-1][28 + 224, 460 + 224] == pytest.approx([128] * 3, abs=6), "hidden"
