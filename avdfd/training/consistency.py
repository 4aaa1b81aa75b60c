"""Training of the consistency model on real talking faces, without labels of fakes.

With minutes of speech, least squares in closed form beats contrastive training (docs/experiments.md). Many public
recordings have their audio 2 to 5 frames early or late; fitted as they are, they blur the prediction. So the offset of
each clip is estimated by a model of other identities, and the model is fitted again with the audio moved by it; clips
in which none is found do not count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avdfd.core.seeding import generator_of
from avdfd.models.consistency import (
    BANDS,
    CONTEXT,
    LAGS,
    Consistency,
    info_nce,
    padded_tokens,
)

_GROUPS = 4  # of identities: the offsets of one are estimated by a model of the others
_SEARCHED = 6  # frames by which audio may be early or late
# Correlation from which a clip counts, from which its offset is believed, and from which it counts fully.
_RELATED, _CERTAIN, _FULL = 0.15, 0.2, 0.4
# Frames and number of the windows of a contrastive step.
_WINDOW, _BATCH = 75, 24


class Talk(NamedTuple):
    """Real talking face."""

    mel: Tensor
    """(128, M) `log_mel`."""
    shape: Tensor
    """(T, D) mouth shape at 25 a second."""
    identity: str


class _Sums(NamedTuple):
    """Sums of products over frames of audio contexts x and movements y: what least squares needs."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor
    frames: Tensor

    def times(self, weight: float) -> "_Sums":
        return _Sums(*(weight * value for value in self))


def fit(talks: Sequence[Talk], *, ridge: float = 1.0, rounds: int = 2, seed: int = 0, tokens: int = 6) -> Consistency:
    """Fit the model in closed form.

    ridge: penalty of standardised inputs relative to the number of frames. rounds: how often offsets are estimated.
    Needs talks of four identities or more.
    """
    identities = sorted({talk.identity for talk in talks})
    order = generator_of(f"consistency {seed}").permutation(len(identities))
    group = {identities[i]: int(n) % _GROUPS for n, i in enumerate(order)}
    groups = np.array([group[talk.identity] for talk in talks])
    model = Consistency(tokens=tokens)
    contexts = [_contexts(talk) for talk in talks]
    sums = [_sums(context, talk, 0, model) for context, talk in zip(contexts, talks, strict=True)]
    counted = sums
    for _ in range(rounds):
        found = [(0, 0.0)] * len(talks)
        for held_out in range(_GROUPS):
            _solve(model, [s for s, g in zip(counted, groups, strict=True) if g != held_out], ridge)
            for i in np.flatnonzero(groups == held_out).tolist():
                found[i] = _offset(model, talks[i])
        counted = [
            (_sums(contexts[i], talks[i], offset, model) if offset else sums[i]).times(weight)
            for i, (offset, weight) in enumerate(found)
        ]
    _solve(model, counted, ridge)
    return model.eval()


def refine(model: Consistency, talks: Sequence[Talk], *, steps: int, seed: int = 0, rate: float = 1e-3) -> None:
    """Train the predictor further by InfoNCE, on windows of 3 s whose audio is moved by the offset of their clip."""
    rng = generator_of(f"refine {seed}")
    found = [_offset(model, talk) for talk in talks]
    usable = [i for i, talk in enumerate(talks) if len(talk.shape) >= _WINDOW and found[i][1] > 0]
    names = sorted({talk.identity for talk in talks})
    contexts = {i: _contexts(talks[i]) for i in usable}
    optimiser = torch.optim.AdamW(model.predictor.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        drawn = rng.permutation(usable)[:_BATCH].tolist()
        audio, mouth = [], []
        for i in drawn:
            start = int(rng.integers(len(talks[i].shape) - _WINDOW + 1))
            moved = (torch.arange(start, start + _WINDOW) + found[i][0]).clamp(0, len(contexts[i]) - 1)
            audio.append(contexts[i][moved])
            mouth.append(talks[i].shape[start : start + _WINDOW])
        weight = model.predictor.weight.flatten(1)
        predicted = model.movement(torch.stack(audio) @ weight.mT)  # the bias is no movement
        actual = model.movement(model.targets(torch.stack(mouth)))
        identities = torch.tensor([names.index(talks[i].identity) for i in drawn])
        optimiser.zero_grad()
        info_nce(predicted, actual, identities, model.sharpness).backward()
        optimiser.step()


def _contexts(talk: Talk) -> Tensor:
    """Return the audio around each frame (T, 32 x 25)."""
    windows = padded_tokens(talk.mel[None])[0].unfold(1, 2 * CONTEXT + 1, 2)  # (bands, frames, tokens)
    return windows.transpose(0, 1).flatten(1)[: len(talk.shape)]


def _sums(contexts: Tensor, talk: Talk, offset: int, model: Consistency) -> _Sums:
    """Return the sums of a clip whose audio is moved by an offset."""
    length = len(contexts)
    moved = (torch.arange(length) + offset).clamp(0, length - 1)
    x, shape = contexts[moved].double(), talk.shape[:length].double()
    y = model.movement(shape[None])[0]
    return _Sums(x.T @ x, x.T @ y, y.T @ y, x.sum(dim=0), y.sum(dim=0), torch.tensor(float(length)))


def _solve(model: Consistency, sums: list[_Sums], ridge: float) -> None:
    """Set the model's weights: principal components of the movement, and their prediction by ridge regression.

    A component counts by its correlation with its prediction, relative to its standard deviation.
    """
    total = _Sums(*(sum(values) for values in zip(*sums, strict=True)))
    mean = total.x / total.frames
    xx = total.xx / total.frames - torch.outer(mean, mean)
    sigma = xx.diagonal().sqrt() + 1e-6
    tokens = model.shape_basis.shape[1]
    basis = torch.linalg.eigh(total.yy / total.frames)[1].flip(1)[:, :tokens]
    basis = basis * basis.sum(dim=0).sign()
    xy = (total.xy / total.frames - torch.outer(mean, total.y / total.frames)) @ basis / sigma[:, None]
    gram = xx / sigma[:, None] / sigma
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), xy)
    variance = (basis * (total.yy @ basis)).sum(dim=0) / total.frames
    explained = (weight * (gram @ weight)).sum(dim=0)
    related = (weight * xy).sum(dim=0) / (explained * variance).sqrt()
    scale = related.clamp(min=0) / variance.sqrt()
    weight = weight / sigma[:, None] * scale
    with torch.no_grad():
        model.predictor.weight.copy_(weight.T.reshape(tokens, BANDS, -1))
        assert model.predictor.bias is not None
        model.predictor.bias.copy_(-mean @ weight)
        model.shape_basis.copy_(basis * scale)


@torch.no_grad()
def _offset(model: Consistency, talk: Talk) -> tuple[int, float]:
    """Return by how many frames the audio of a clip is late, 0 if that is uncertain, and the weight of the clip."""
    agreement = model(talk.mel[None], talk.shape[None]).agreement[0, LAGS - _SEARCHED : LAGS + _SEARCHED + 1]
    best = int(agreement.argmax())
    value = float(agreement[best])
    weight = min(1.0, value / _FULL) if value >= _RELATED else 0.0
    return best - _SEARCHED if value >= _CERTAIN else 0, weight
