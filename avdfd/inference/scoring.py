"""Scores of elements by a trained run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from avdfd.core.errors import WorkError
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, prepare, stack, to_device
from avdfd.datasets.samplers import Draw, Sequential, Shared
from avdfd.elements import Element
from avdfd.inference.columns import DISTANCE, WEIGHT
from avdfd.inference.explanation import audio_effect
from avdfd.inference.runs import Run

EXPLANATIONS = ("frames", "agreement", "discrepancy", "audio_effect", "embedding", "distance")
"""Columns that explain scores; fields of `Scores`."""


@dataclass
class Scores:
    """P(fake) per element and branch, with explanations."""

    keys: list[str]
    branch: dict[str, np.ndarray]
    """Branch -> (N,), or (S, N) of S runs (`avdfd.evaluation.pooling.stack`)."""
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    """Branch -> (N,) its weight in the fused score; empty for a system without fusion."""
    distances: dict[str, np.ndarray] = field(default_factory=dict)
    """Branch -> (N,) distance from the training data, of a run with a domain (`avdfd.inference.domain`)."""
    frames: np.ndarray | None = None
    """(N, 77) log-ratio of consistency at each frame, 25 a second; low if audio and mouth do not belong together."""
    agreement: np.ndarray | None = None
    """(N, 31) correlation of predicted and actual movement of the mouth at lags from -15 to 15 frames."""
    discrepancy: np.ndarray | None = None
    """(N, 8) audio-visual discrepancy per time step; with explanations (N, 8, 14, 14), on the grid of the face."""
    audio_effect: np.ndarray | None = None
    """With explanations, (N, A): contribution of each audio patch to the logit of the audio branch."""
    embedding: np.ndarray | None = None
    """(N, P) embedding of the voice, from a run that `avdfd.evaluation.voices.placing` returns."""
    distance: np.ndarray | None = None
    """(N,) distance of the embedding from the prototype of real speech, likewise."""


def score(
    run: Run,
    elements: ElementSet,
    *,
    batch_size: int = 16,
    workers: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Scores:
    """Score every element of a set, in its order. `progress` may wrap the batches in a progress bar.

    Raises WorkError if a score is not a number.
    """
    order = Shared(Sequential(len(elements), batch_size))
    bar = progress(Batches(elements, order, run.device, workers=workers))
    parts = [_score_batch(run, batch) for _, batch in bar]
    return _join(run, [meta.key for meta in elements.metas], parts, lambda at: elements.not_finite([Draw(at, None)]))


def score_windows(run: Run, windows: list[Element], *, explain: bool = False) -> Scores:
    """Score elements in memory as one batch; their keys are "window 0" and so on.

    The elements have all their frames if the run takes any. With `explain`, the result has the full explanations.
    Raises WorkError if a score is not a number.
    """
    wanted = run.inputs.reads.frames
    raws = []
    for window in windows:
        frames = None
        if wanted is not None:
            assert window.frames is not None, "a run that takes frames is given windows with frames"
            frames = window.frames[[number for number in wanted if number < len(window.frames)]]
        raws.append(run.inputs.raw(replace(window, frames=frames)))
    batch = prepare(run.inputs, to_device(stack(raws), run.device), None)
    return _join(run, [f"window {number}" for number in range(len(windows))], [_score_batch(run, batch, explain)])


def _score_batch(run: Run, batch: Any, explain: bool = False) -> dict[str, np.ndarray]:
    """Score a batch in float32, whatever the precision of its training: probabilities of the branches, explanations."""
    with torch.inference_mode():
        columns = run.columns(batch)
        if explain and run.audio_branch is not None:
            columns["audio_effect"] = audio_effect(*run.audio_branch, batch.mel)
    if "discrepancy" in columns and not explain:
        columns["discrepancy"] = columns["discrepancy"].mean(dim=(2, 3))
    return {
        name: (torch.sigmoid(column.double()) if name in run.branches else column.float()).cpu().numpy()
        for name, column in columns.items()
    }


def _join(
    run: Run,
    keys: list[str],
    parts: list[dict[str, np.ndarray]],
    not_finite: Callable[[int], Sequence[str]] = lambda position: (),
) -> Scores:
    """Join the scores of batches. `not_finite` names the element at a position if its inputs are not finite."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for branch in run.branches:
        if np.isnan(columns[branch]).any():
            position = int(np.isnan(columns[branch]).argmax())
            culprits = not_finite(position)
            raise WorkError(
                f"{run.folder}: its {branch} score of {keys[position]} is not a number: "
                + (
                    f"the inputs of {culprits[0]} are not finite; make this element again"
                    if culprits
                    else "inputs and weights are finite, but not what it computes of them; try --device cpu, which "
                    "computes in float32, or train it again with a lower learning rate"
                )
            )
    weights = {branch: columns.pop(WEIGHT + branch) for branch in run.branches if WEIGHT + branch in columns}
    far = [name for name in columns if name.startswith(DISTANCE)]
    found = {name.removeprefix(DISTANCE): columns.pop(name) for name in far}
    explained = {name: columns.pop(name, None) for name in EXPLANATIONS}
    return Scores(keys, columns, weights, found, **explained)
