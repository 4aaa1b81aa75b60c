"""Training of the consistency model on real talking faces, without labels of fakes.

With minutes of speech, least squares in closed form beats contrastive training (docs/experiments.md). Many public
recordings have their audio 2 to 5 frames early or late; fitted as they are, they blur the prediction. So the offset of
each clip is estimated by a model of other identities, and the model is fitted again with the audio moved by it; clips
in which none is found do not count.

Of a mouth with many features, as a frozen encoder has, the principal components of the movement come first: they are
found once, on the same clips, and are a part of the model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.core.seeding import generator_of
from avdfd.features.mouth_shape import SHAPE
from avdfd.models.consistency import (
    CONTEXT,
    LAGS,
    Consistency,
    Direction,
    frame_tokens,
    padded_movement,
    padded_tokens,
)

IDENTITIES = 4
"""Smallest number of identities to fit on."""
_GROUPS = 4  # of identities: the offsets of one are estimated by a model of the others
_SEARCHED = 6  # frames by which audio may be early or late
# Correlation from which a clip counts, from which its offset is believed, and from which it counts fully.
_RELATED, _CERTAIN, _FULL = 0.15, 0.2, 0.4


class Talk(NamedTuple):
    """Real talking face."""

    mel: Tensor
    """(128, M) `log_mel`."""
    shape: Tensor
    """(T, D) mouth shape at 25 a second, or other features of the mouth."""
    identity: str
    clip: str = ""
    """Recording that it is a part of. Successive talks of one share their offset; empty for a recording of its own."""


class _Sums(NamedTuple):
    """Sums of products over frames of contexts x and movements y: what least squares needs."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor
    frames: Tensor

    def times(self, weight: float) -> "_Sums":
        return _Sums(*(weight * value for value in self))

    def plus(self, other: "_Sums") -> "_Sums":
        return _Sums(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


_Products = Mapping[Direction, _Sums]
"""Sums of each direction of a model."""


def fit(
    talks: Iterable[Talk],
    *,
    identities: Iterable[str] | None = None,
    ridge: float = 1.0,
    rounds: int = 2,
    seed: int = 0,
    features: int = SHAPE,
    components: int = 0,
    tokens: int = 6,
    direction: Direction = "a2v",
) -> Consistency:
    """Fit the model in closed form.

    talks: iterated over `1 + rounds` times, one recording in memory at once, and once more each for identities that are
    not given, and for principal components. identities: all that talks have; four or more. ridge: penalty of
    standardised inputs relative to the number of frames. rounds: how often offsets are estimated.
    """
    names = sorted({*(identities if identities is not None else (talk.identity for talk in talks))})
    assert len(names) >= IDENTITIES, "offsets of an identity are estimated by a model of others"
    order = generator_of(f"consistency {seed}").permutation(len(names))
    group = {names[i]: int(n) % _GROUPS for n, i in enumerate(order)}
    sizes: dict[str, Any] = {"features": features, "components": components, "tokens": tokens, "direction": direction}
    model = Consistency(**sizes)
    if model.reduction is not None:
        model.reduction.copy_(principal_components(model, talks))
    models: list[Consistency] = []  # each of all groups but one
    for _ in range(1 + rounds):
        of_group: list[_Products | None] = [None] * _GROUPS
        for clip in clips_of(talks):
            number = group[clip[0].identity]
            offset, weight = clip_offset(models[number], clip) if models else (0, 1.0)
            if weight:
                for talk in clip:
                    _add(of_group, number, _products(model, talk, offset, weight))
        models = []
        for held_out in range(_GROUPS):
            models.append(_like(model, sizes))
            _solve(models[-1], [s for n, s in enumerate(of_group) if n != held_out], ridge)
    _solve(model, of_group, ridge)
    return model.eval()


@torch.no_grad()
def principal_components(model: Consistency, talks: Iterable[Talk]) -> Tensor:
    """Return the principal components (D, P) of the movement of the mouth, those of the largest variance first.

    Each frame of a talk counts the same, whether its audio is related or not. Signs are fixed by the largest entry.
    """
    assert model.reduction is not None, "of a model that has them"
    features, count = model.reduction.shape
    products = torch.zeros(features, features, dtype=torch.float64)
    for talk in talks:
        movement = model.movement(talk.shape[None].double())[0]
        products += movement.T @ movement
    basis = torch.linalg.eigh(products)[1].flip(1)[:, :count]
    largest = basis.gather(0, basis.abs().argmax(dim=0)[None])
    return basis * largest.sign()


def _like(model: Consistency, sizes: dict[str, Any]) -> Consistency:
    """Return another model of the same principal components."""
    other = Consistency(**sizes)
    if other.reduction is not None and model.reduction is not None:
        other.reduction.copy_(model.reduction)
    return other


@torch.no_grad()
def clip_offset(model: Consistency, clip: Sequence[Talk]) -> tuple[int, float]:
    """Return by how many frames the audio of a recording is late, 0 if that is uncertain, and its weight (0 to 1)."""
    total = sum(len(talk.shape) for talk in clip)
    agreement = torch.zeros(2 * _SEARCHED + 1)
    for talk in clip:
        found = model(talk.mel[None], talk.shape[None]).agreement[0, LAGS - _SEARCHED : LAGS + _SEARCHED + 1]
        agreement += len(talk.shape) / total * found
    best = int(agreement.argmax())
    value = float(agreement[best])
    weight = min(1.0, value / _FULL) if value >= _RELATED else 0.0
    return best - _SEARCHED if value >= _CERTAIN else 0, weight


def clips_of(talks: Iterable[Talk]) -> Iterator[list[Talk]]:
    """Yield the talks of each recording."""
    for clip, members in groupby(talks, key=lambda talk: talk.clip):
        together = [*members]
        yield from [together] if clip else ([talk] for talk in together)


def _contexts(talk: Talk) -> Tensor:
    """Return the audio around each frame (T, 32 x 25)."""
    windows = padded_tokens(talk.mel[None])[0].unfold(1, 2 * CONTEXT + 1, 2)  # (bands, frames, tokens)
    return windows.transpose(0, 1).flatten(1)[: len(talk.shape)]


def _mouth_contexts(movement: Tensor) -> Tensor:
    """Movement (T, D) -> that around each frame (T, D x 13)."""
    return padded_movement(movement[None])[0].unfold(1, CONTEXT + 1, 1).transpose(0, 1).flatten(1)


def _products(model: Consistency, talk: Talk, offset: int, weight: float) -> _Products:
    """Return the weighted sums of a talk whose audio is moved by an offset."""
    contexts = _contexts(talk)
    length = len(contexts)
    moved = (torch.arange(length) + offset).clamp(0, length - 1)
    mouth = model.movement(model.reduced(talk.shape[None, :length].double()))[0]
    found: dict[Direction, _Sums] = {}
    for way in model.directions:
        if way == "a2v":
            x, y = contexts[moved].double(), mouth
        else:
            audio = frame_tokens(talk.mel[None])[:, :length].double()
            x, y = _mouth_contexts(mouth), model.movement(audio[:, moved])[0]
        products = x.T @ x, x.T @ y, y.T @ y, x.sum(dim=0), y.sum(dim=0), torch.tensor(float(length))
        found[way] = _Sums(*products).times(weight)
    return found


def _add(of_group: list[_Products | None], number: int, products: _Products) -> None:
    before = of_group[number]
    of_group[number] = products if before is None else {way: before[way].plus(products[way]) for way in before}


@torch.no_grad()
def _solve(model: Consistency, of_groups: Sequence[_Products | None], ridge: float) -> None:
    """Set the model's weights from the sums of groups of identities.

    Raises UserError if nothing counts: the audio of no clip is related to its mouth.
    """
    known = [products for products in of_groups if products is not None]
    if not known:
        raise UserError(
            "no audio is related to the mouth that it comes with; give more clips, or clips of talking faces"
        )
    for way in model.directions:
        total = _Sums(*(torch.stack(values).sum(dim=0) for values in zip(*(one[way] for one in known), strict=True)))
        weight, bias, basis = _least_squares(total, ridge, model.tokens_per_direction)
        if len(model.directions) > 1:
            # A prediction moves less than what it predicts. Side by side, tokens of two directions have one correlation
            # between those of each only if both sides of a direction move alike.
            matched = _size_of_movement(total, basis) / _size_of_prediction(total, weight)
            weight, bias = matched * weight, matched * bias
        predictor = model.predictor if way == "a2v" else model.audio_predictor
        predictor.weight.copy_(weight.T.reshape(predictor.weight.shape))
        assert predictor.bias is not None
        predictor.bias.copy_(bias)
        (model.shape_basis if way == "a2v" else model.audio_basis).copy_(basis)


def _size_of_movement(total: _Sums, basis: Tensor) -> Tensor:
    """Return the root mean square of the actual tokens."""
    return ((basis * (total.yy @ basis)).sum() / total.frames).sqrt()


def _size_of_prediction(total: _Sums, weight: Tensor) -> Tensor:
    """Return that of the predicted tokens about their mean; never 0."""
    mean = total.x / total.frames
    xx = total.xx / total.frames - torch.outer(mean, mean)
    return (weight * (xx @ weight)).sum().clamp(min=1e-12).sqrt()


def _least_squares(total: _Sums, ridge: float, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight (X, K), bias (K,) and basis (Y, K): principal components of the movement, and their prediction.

    A component counts by its correlation with its prediction, relative to its standard deviation.
    """
    mean = total.x / total.frames
    xx = total.xx / total.frames - torch.outer(mean, mean)
    sigma = xx.diagonal().clamp(min=0).sqrt() + 1e-6
    basis = torch.linalg.eigh(total.yy / total.frames)[1].flip(1)[:, :tokens]
    basis = basis * basis.sum(dim=0).sign()
    xy = (total.xy / total.frames - torch.outer(mean, total.y / total.frames)) @ basis / sigma[:, None]
    gram = xx / sigma[:, None] / sigma
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), xy)
    variance = (basis * (total.yy @ basis)).sum(dim=0) / total.frames
    explained = (weight * (gram @ weight)).sum(dim=0)
    variance, explained = variance.clamp(min=1e-12), explained.clamp(min=1e-12)
    related = (weight * xy).sum(dim=0) / (explained * variance).sqrt()
    scale = related.clamp(min=0) / variance.sqrt()
    weight = weight / sigma[:, None] * scale
    return weight, -mean @ weight, basis * scale
