"""Inputs of visual representations from elements."""

import numpy as np
import pytest
import torch

from avdfd.config import AugmentConfig, RepresentationConfig, parse
from avdfd.datasets import mouths
from avdfd.datasets.loaders import Inputs, prepare, stack
from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import Element
from avdfd.features.mouth_crops import mouth_crops
from avdfd.features.mouth_shape import mouth_shape
from avdfd.features.window import FRAMES, WINDOW
from tests.helpers.runs import landmarks_of

VALUES = {
    "mouth-shape": {},
    "av-hubert": {"avhubert": {"file": "a.pt", "sha256": "0" * 64}},
    "vit": {"vit": {"init": "marlin", "weights": "b.pt", "sha256": "0" * 64, "image_size": 32}},
}


@pytest.fixture(scope="module")
def element():
    rng = np.random.default_rng(0)
    waveform = rng.uniform(-0.5, 0.5, WINDOW).astype(np.float32)
    mel = rng.standard_normal((128, 768)).astype(np.float32)
    frames = rng.integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)
    return Element(None, waveform, mel, frames=frames, landmarks=landmarks_of(waveform))


@pytest.mark.parametrize("kind", VALUES)
def test_inputs_have_frames_and_mouth_without_augmentation(kind, element):
    cfg = parse({"kind": kind, **VALUES[kind]}, RepresentationConfig, "test")
    inputs = Inputs(32, shape=True, augment=AugmentConfig(flip=1.0), representation=cfg)
    every = kind != "mouth-shape"
    assert list(inputs.reads.frames) == (list(range(FRAMES)) if every else FRAME_CHOICE)
    assert inputs.reads.landmarks == (kind != "vit")
    assert Inputs(None, representation=cfg).reads.frames is None, "without the mouth"
    read = element if every else Element(None, None, element.mel, None, element.frames[FRAME_CHOICE], element.landmarks)
    batch = prepare(inputs, stack([inputs.raw(read)]), [(0,)])
    expected = {
        "mouth-shape": lambda: mouth_shape(element.landmarks),
        "av-hubert": lambda: mouth_crops(element.frames, element.landmarks),
        "vit": lambda: None,
    }[kind]()
    if expected is None:
        plain = prepare(Inputs(32), stack([Inputs(32).raw(read_of(element))]), None)
        assert torch.equal(batch.shape[:, :, FRAME_CHOICE], plain.video)
    else:
        assert np.array_equal(batch.shape[0], expected)
    flipped = prepare(Inputs(32), stack([Inputs(32).raw(read_of(element))]), None).video.flip(-1)
    assert torch.equal(batch.video, flipped)
    blank = mouths.blank(cfg, torch.device("cpu"))
    assert (blank.shape, blank.dtype) == (batch.shape.shape, batch.shape.dtype)


def read_of(element: Element) -> Element:
    """Return the element as it is read for the picture branch alone."""
    return Element(None, None, element.mel, None, element.frames[FRAME_CHOICE])
