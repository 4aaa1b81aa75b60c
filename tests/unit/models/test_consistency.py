"""Consistency of audio and mouth: time alignment, independence of clips, gradients, scores against naive loops."""

import math

import pytest
import torch

from avdfd.features.mouth_shape import SHAPE
from avdfd.features.window import MEL_BINS
from avdfd.models.consistency import CONTEXT, LAGS, Consistency, info_nce

T = 60
PER_FRAME = 10  # frames of the mel per video frame


@pytest.fixture
def model() -> Consistency:
    torch.manual_seed(0)
    model = Consistency(tokens=4)
    model.shape_basis.normal_()
    return model.eval()


def clips(count: int, frames: int = T) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, MEL_BINS, PER_FRAME * frames), torch.randn(count, frames, SHAPE)


def test_a_clip_does_not_depend_on_its_batch(model):
    mel, shape = clips(3)
    together = model(mel, shape)
    for i in range(3):
        alone = model(mel[i : i + 1], shape[i : i + 1])
        for batched, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batched[i], single[0], rtol=1e-4, atol=1e-4)


def test_audio_moves_the_frames_that_it_belongs_to(model):
    """20 ms at the start of frame 30 are in the context of the frames within 0.24 s, and of no other."""
    mel, _ = clips(1)
    changed = mel.clone()
    changed[..., 30 * PER_FRAME : 30 * PER_FRAME + 5] += 1
    moved = (model.predict(changed) - model.predict(mel)).abs().amax(dim=(0, 2)) > 1e-5
    assert moved.nonzero().flatten().tolist() == list(range(30 - CONTEXT // 2, 30 + CONTEXT // 2 + 1))


def test_a_predictor_of_the_present_moves_one_frame(model):
    with torch.no_grad():
        model.predictor.weight.zero_()
        model.predictor.weight[:, :, CONTEXT] = 1
    mel = torch.zeros(1, MEL_BINS, PER_FRAME * T)
    mel[..., 30 * PER_FRAME : 30 * PER_FRAME + 5] = 1
    predicted = model.predict(mel) - model.predict(torch.zeros_like(mel))
    assert predicted.abs().amax(dim=(0, 2)).nonzero().flatten().tolist() == [30]


def test_a_window_of_the_store_has_77_frames(model):
    assert model.predict(torch.zeros(1, MEL_BINS, 768)).shape == (1, 77, 4)


@pytest.mark.parametrize("late", [-15, -4, 0, 7])
def test_the_lag_is_by_how_many_frames_the_audio_is_late(model, late):
    long = torch.randn(1, T + 2 * LAGS, 4)
    mouth, audio = long[:, LAGS : LAGS + T], long[:, LAGS - late : LAGS - late + T]
    agreement = model.compare(audio, mouth).agreement[0]
    assert int(agreement.argmax()) - LAGS == late
    assert agreement.max() > 0.9


def test_agreement_is_the_correlation_of_what_overlaps(model):
    predicted, actual = torch.randn(1, T, 4), torch.randn(1, T, 4)
    agreement = model.compare(predicted, actual).agreement[0]
    a, b = model.movement(predicted)[0], model.movement(actual)[0]
    for lag in (-15, -1, 0, 3):
        pairs = [(a[t + lag], b[t]) for t in range(T) if 0 <= t + lag < T]
        product = sum(float(x @ y) for x, y in pairs)
        norms = math.sqrt(sum(float(x @ x) for x, _ in pairs) * sum(float(y @ y) for _, y in pairs))
        assert agreement[lag + LAGS] == pytest.approx(product / norms, abs=1e-5)


def test_log_ratio_against_its_definition(model):
    agreement = torch.rand(1, 2 * LAGS + 1) * 0.8 - 0.3
    lags = range(-LAGS, LAGS + 1)
    prior = [math.exp(-0.5 * (lag / model.spread) ** 2) for lag in lags]
    likelihood = [math.exp(model.sharpness * float(r)) for r in agreement[0]]
    real = sum(p * x for p, x in zip(prior, likelihood, strict=True)) / sum(prior)
    other = 1 + sum(likelihood) / len(likelihood)
    assert float(model.log_ratio(agreement)) == pytest.approx(math.log(real / other), abs=1e-4)


def test_the_clip_that_belongs_together_scores_higher(model):
    mouth, stranger = torch.randn(1, T, 4), torch.randn(1, T, 4)
    audio = mouth + 0.5 * torch.randn(1, T, 4)
    late = torch.roll(audio, 10, dims=1)
    own = model.compare(audio, mouth).log_ratio
    assert own > model.compare(stranger, mouth).log_ratio
    assert own > model.compare(late, mouth).log_ratio


def test_frames_show_where_audio_and_mouth_part(model):
    mouth = torch.randn(1, 150, 4)
    audio = torch.cat([mouth[:, :75], torch.randn(1, 75, 4)], dim=1)
    frames = model.compare(audio, mouth).frames[0]
    assert frames.shape == (150,)
    assert frames[:60].min() > frames[90:].max()


def test_no_movement_is_no_evidence(model):
    mel, shape = clips(1)
    evidence = model(mel, shape[:, :1].expand(-1, T, -1))
    assert evidence.agreement.abs().max() < 0.1
    assert all(torch.isfinite(part).all() for part in evidence)


def test_gradient_reaches_the_predictor_and_no_target(model):
    mel, shape = clips(4)
    shape.requires_grad_()
    loss = info_nce(
        model.movement(model.predict(mel)), model.movement(model.targets(shape)), torch.arange(4), model.sharpness
    )
    loss.backward()
    assert model.predictor.weight.grad.abs().max() > 0
    assert shape.grad is None or not shape.grad.any()
    assert {name for name, _ in model.named_parameters()} == {"predictor.weight", "predictor.bias"}


@pytest.fixture(params=["a2v", "v2a", "symmetric"])
def reduced(request) -> Consistency:
    """Return a model of 8 principal components of 40 features."""
    torch.manual_seed(0)
    model = Consistency(features=40, components=8, tokens=4, direction=request.param)
    assert model.reduction is not None
    model.reduction.copy_(torch.linalg.qr(torch.randn(40, 8))[0])
    for name in ("shape_basis", "audio_basis"):
        if hasattr(model, name):
            getattr(model, name).normal_()
    return model.eval()


def test_principal_components_take_the_place_of_the_features(reduced):
    mel, _ = clips(2)
    shape = torch.randn(2, T, 40)
    plain = Consistency(
        features=8, tokens=4, direction="symmetric" if len(reduced.directions) == 2 else "".join(reduced.directions)
    )
    plain.load_state_dict({key: x for key, x in reduced.state_dict().items() if key != "reduction"})
    small = plain.tokens(mel, shape @ reduced.reduction)
    for ours, theirs in zip(reduced.tokens(mel, shape), small, strict=True):
        assert ours.shape == (2, T, 4 * len(reduced.directions))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_reduced_clips_do_not_depend_on_their_batch_and_keep_their_time(reduced):
    mel, _ = clips(3)
    shape = torch.randn(3, T, 40)
    together = reduced(mel, shape)
    for i in range(3):
        alone = reduced(mel[i : i + 1], shape[i : i + 1])
        for batched, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batched[i], single[0], rtol=1e-4, atol=1e-4)
    reduced.movement = lambda tokens: tokens
    changed = shape[:1].clone()
    changed[:, 30] += 1  # of the mouth
    for (before, after), way in zip(
        zip(reduced.pairs(mel[:1], shape[:1]), reduced.pairs(mel[:1], changed), strict=True),
        reduced.directions,
        strict=True,
    ):
        side = 1 if way == "a2v" else 0
        moved = (after[side] - before[side]).abs().amax(dim=(0, 2)) > 1e-6
        reach = 0 if way == "a2v" else CONTEXT // 2
        assert moved.nonzero().flatten().tolist() == list(range(30 - reach, 30 + reach + 1))


@pytest.mark.parametrize("components", [0, 40, 120])
def test_no_more_components_than_features(components):
    model = Consistency(features=40, components=components)
    assert model.reduction is None
    assert "reduction" not in model.state_dict()
    assert model.shape_basis.shape == (40, 6)


def test_info_nce_against_loops(model):
    predicted, actual = torch.randn(4, T, 3), torch.randn(4, T, 3)
    identities = [0, 1, 1, 2]

    def related(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(5 * float((a * b).sum() / (a.norm() * b.norm())))

    total = 0.0
    for i in range(4):
        true = related(predicted[i], actual[i])
        moments = [true]
        for lag in range(-LAGS, LAGS + 1):
            if abs(lag) > 2:
                a = predicted[i, max(0, lag) : T + min(0, lag)]
                moments.append(related(a, actual[i, max(0, -lag) : T + min(0, -lag)]))
        others = [j for j in range(4) if j == i or identities[j] != identities[i]]
        mouths = sum(related(predicted[i], actual[j]) for j in others)
        audios = sum(related(predicted[j], actual[i]) for j in others)
        total += math.log(sum(moments) / true) + (math.log(mouths / true) + math.log(audios / true)) / 2
    loss = info_nce(predicted, actual, torch.tensor(identities), 5.0)
    assert float(loss) == pytest.approx(total / 4, rel=1e-4)
