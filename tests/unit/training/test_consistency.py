"""Fit of the consistency model to made-up talk, of which it is known what the mouth follows."""

import numpy as np
import pytest
import torch

from avdfd.features.mouth_shape import SHAPE
from avdfd.features.window import MEL_BINS
from avdfd.models.consistency import LAGS, Consistency, audio_tokens
from avdfd.training.consistency import Talk, fit, principal_components

FRAMES = 120
LATE = 3  # frames by which the audio of the last clip is late


def talks(late: int = 0, seed: int = 0, features: int = SHAPE, noise: float = 0.5) -> list[Talk]:
    """Return clips of six identities, the last with late audio. The mouth follows three bands, 40 ms ahead of them."""
    g = torch.Generator().manual_seed(7)
    follows = torch.randn(3, features, generator=g)
    g.manual_seed(seed)
    made = []
    for i in range(6):
        mel = torch.randn(MEL_BINS, 10 * (FRAMES + 20), generator=g)
        bands = audio_tokens(mel[None])[0, :3, ::2].T
        shape = bands @ follows + noise * torch.randn(len(bands), features, generator=g)
        shift = late if i == 5 else 0
        shape = shape[11 : 11 + FRAMES]
        made.append(Talk(mel[:, 10 * (10 - shift) : 10 * (10 - shift + FRAMES)], shape, f"identity-{i}"))
    return made


@pytest.fixture(scope="module")
def model() -> Consistency:
    return fit(talks(late=LATE))


@torch.no_grad()
def test_new_talk_is_related_at_lag_0(model):
    for talk in talks(seed=1):
        evidence = model(talk.mel[None], talk.shape[None])
        assert int(evidence.agreement[0].argmax()) == LAGS
        assert evidence.agreement[0, LAGS] > 0.4


@torch.no_grad()
def test_late_audio_of_a_training_clip_is_found_and_does_not_shift_the_model(model):
    last = talks(late=LATE)[-1]
    assert int(model(last.mel[None], last.shape[None]).agreement[0].argmax()) == LAGS + LATE


@torch.no_grad()
def test_a_strangers_audio_scores_lower(model):
    first, second, *_ = talks(seed=1)
    own = model(first.mel[None], first.shape[None]).log_ratio
    assert own > model(second.mel[None], first.shape[None]).log_ratio + 2


@torch.no_grad()
def test_both_sides_of_both_directions_move_alike():
    given = talks(noise=2.0)
    both = fit(given, direction="symmetric", tokens=3, rounds=0)
    audio, mouth = (
        torch.cat(side) for side in zip(*(both.tokens(t.mel[None], t.shape[None]) for t in given), strict=True)
    )
    for direction in (slice(3), slice(3, 6)):
        sizes = [tokens[..., direction].var(dim=1).sum().sqrt() for tokens in (audio, mouth)]
        torch.testing.assert_close(*sizes, rtol=0.1, atol=0.0)


@torch.no_grad()
def test_other_features_than_the_mouth_shape_are_predicted():
    model = fit(talks(features=300), features=300, rounds=1)
    assert model.shape_basis.shape == (300, 6)
    for talk in talks(seed=1, features=300):
        agreement = model(talk.mel[None], talk.shape[None]).agreement[0]
        assert int(agreement.argmax()) == LAGS
        assert agreement[LAGS] > 0.4


@torch.no_grad()
@pytest.mark.parametrize("direction", ["a2v", "v2a", "symmetric"])
def test_many_features_are_reduced_before_either_direction(direction):
    def made(seed: int) -> list[Talk]:
        """Return talk whose other bands, which no mouth can tell, are quiet."""
        quiet = torch.where(torch.arange(MEL_BINS) < 12, 1.0, 0.1)[:, None]
        return [talk._replace(mel=quiet * talk.mel) for talk in talks(seed=seed, features=300)]

    model = fit(made(0), features=300, components=20, rounds=1, direction=direction)
    assert model.reduction.shape == (300, 20)
    if "v2a" in model.directions:
        assert model.audio_predictor.weight.shape[1] == 20
    if "a2v" in model.directions:
        assert model.shape_basis.shape == (20, 6)
    for talk in made(1):
        agreement = model(talk.mel[None], talk.shape[None]).agreement[0]
        assert int(agreement.argmax()) == LAGS
        assert agreement[LAGS] > 0.2


def test_principal_components_against_numpy():
    made = talks(features=40)
    model = Consistency(features=40, components=5)
    found = principal_components(model, made).numpy()
    movement = np.concatenate([model.movement(talk.shape[None].double())[0].numpy() for talk in made])
    expected = np.linalg.svd(movement, full_matrices=False)[2][:5].T
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-6)
    assert (found[np.abs(found).argmax(axis=0), range(5)] > 0).all()


def test_the_same_talks_give_the_same_model():
    first, second = fit(talks(), rounds=0), fit(talks(), rounds=0)
    assert torch.equal(first.predictor.weight, second.predictor.weight)
    assert torch.equal(first.shape_basis, second.shape_basis)
