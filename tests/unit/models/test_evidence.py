"""Evidence of the consistency branch: numbers by hand, and no influence of length."""

import numpy as np
import pytest
import torch

from avdfd.metrics import roc
from avdfd.models.consistency import LAGS, Consistency, Evidence
from avdfd.models.evidence import EVIDENCE, moved, quantiles, summarised


def compared(frames: torch.Tensor, agreement: torch.Tensor | None = None) -> Evidence:
    if agreement is None:
        agreement = torch.zeros(len(frames), 2 * LAGS + 1)
    return Evidence(frames.mean(1), frames, agreement)


def test_numbers_by_hand():
    frames = torch.linspace(0, 7.6, 77)[None]
    agreement = torch.zeros(1, 2 * LAGS + 1)
    agreement[0, LAGS - 6] = 1.0
    evidence = summarised(compared(frames, agreement))[0].tolist()
    assert len(evidence) == EVIDENCE
    assert evidence == pytest.approx([*(x / 5 for x in (3.8, 3.8, 0.76, 1.9, 1.2)), 1.0, 6 / 15, 1 - 1 / 31], abs=1e-4)


def test_a_short_clip_has_a_worst_second_too():
    assert summarised(compared(torch.full((1, 10), 5.0)))[0, 4] == pytest.approx(1.0)


def test_what_goes_on_has_the_same_evidence():
    """The movement of a clip repeated: its evidence stays, apart from the edges."""
    torch.manual_seed(0)
    mouth = torch.randn(40, 150, 4)
    audio = mouth + torch.randn_like(mouth)
    model = Consistency(tokens=4)
    once, twice = (summarised(model.compare(audio.repeat(1, n, 1), mouth.repeat(1, n, 1))) for n in (2, 4))
    torch.testing.assert_close(once.mean(0), twice.mean(0), atol=0.1, rtol=0.05)


def test_length_alone_tells_nothing_of_windows():
    """All windows have 77 frames, so nothing but chance is left of the length of the clips that they are from."""
    torch.manual_seed(0)
    windows = torch.randn(2, 600, 77, 4)
    evidence = summarised(Consistency(tokens=4).compare(windows[0] + windows[1], windows[1]))
    lengths = np.random.default_rng(0).uniform(3, 10, 600)
    for column in evidence.T.numpy():
        assert roc.auc((lengths > np.median(lengths)).astype(int), column) == pytest.approx(0.5, abs=0.07)


def test_moved_parts_have_the_audio_of_their_moment():
    time = torch.arange(77.0)[None, :, None]
    own, *others = moved(time, time)
    assert own[0].shape == (1, 57, 1)
    assert torch.equal(*own)
    offsets = [float((audio - mouth).unique()) for audio, mouth in others]
    assert offsets == [5, -5, 10, -10, 20, -20]
    assert all(audio.shape == mouth.shape == (1, 57, 1) for audio, mouth in others)


def test_gradient_reaches_the_prediction():
    predicted = torch.randn(2, 77, 4, requires_grad=True)
    summarised(Consistency(tokens=4).compare(predicted, torch.randn(2, 77, 4))).sum().backward()
    assert predicted.grad.abs().sum() > 0


@pytest.mark.parametrize("length", [1, 2, 77])
def test_quantiles_are_those_of_torch(length):
    values = torch.randn(5, length, generator=torch.Generator().manual_seed(length))
    expected = torch.quantile(values, torch.tensor([0.0, 0.1, 0.25, 1.0]), dim=1)
    assert torch.equal(torch.stack(quantiles(values, (0.0, 0.1, 0.25, 1.0))), expected)
