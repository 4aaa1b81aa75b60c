"""Choice of the penalties of a fitted score on training clips alone, by pages that are left out in turn.

    N clips   M values of a clip   n clips of an inner training   P pairs of penalties

An inner training has the clips that share no page, family of methods, vocoder, converter, identity or utterance with
the page that is left out, as training and test of `page_disjoint` do: penalties are wanted for families that are not
known. Neither validation nor test takes part.

Reference: Varma and Simon, "Bias in error estimation when using cross-validation for model selection", BMC
Bioinformatics 2006, for the choice within the training of each fold.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avdfd.config import PretrainConfig
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.metrics import roc
from avdfd.splits.families import Families, read_families
from avdfd.splits.page_disjoint import leave_pages_out
from avdfd.training.fitted import Clips, regression, scale_within
from avdfd.training.run_folder import RunFolder

FILE = "penalties.json"
_FEWEST = 2  # pages that judge


class Penalties(NamedTuple):
    """A pair of penalties, and the AUC that it has on pages that were left out."""

    c: float
    whiten: float
    within: float
    """Mean over these pages of the AUC within each."""
    pooled: float
    """AUC of the clips of all these pages together."""

    @property
    def criterion(self) -> float:
        return (self.within + self.pooled) / 2


def penalties_of(cfg: PretrainConfig, clips: Clips, run: RunFolder) -> tuple[float, float]:
    """Return `fit_c` and `fit_whiten`: those of the config, or the best of its candidates, which are logged.

    The figures of all candidates are written to penalties.json in the run folder. Raises UserError for too few pages,
    or a damaged table of families.
    """
    cs, whitens = cfg.fit_candidates
    if len(cs) * len(whitens) == 1:
        return cs[0], whitens[0]
    held = inner_folds(clips, read_families(Path(cfg.fit_families)))
    if len(held) < _FEWEST:
        raise UserError(
            f"{cfg.data.splits}: {len(held)} of the training pages can be left out to choose fit_c and fit_whiten, "
            f"which needs {_FEWEST}: pages with real clips and fakes, and clips that share nothing with them; give "
            "single numbers"
        )
    ranked = rank(clips, [*held.values()], cs, whitens)
    best = ranked[0]
    run.announce(
        f"fit_c {best.c:g} and fit_whiten {best.whiten:g} chosen of {len(ranked)} pairs by {len(held)} training pages "
        f"left out in turn: AUC within pages {best.within:.3f}, pooled {best.pooled:.3f}; all pairs: {run.path / FILE}"
    )
    if run.first:
        found = {"pages": [*held], "pairs": [pair._asdict() | {"criterion": pair.criterion} for pair in ranked]}
        write_atomic(run.path / FILE, (json.dumps(found, indent=2) + "\n").encode())
    return best.c, best.whiten


def inner_folds(clips: Clips, table: Families) -> dict[str, tuple[list[int], list[int]]]:
    """Return, by page, the positions of its clips and of its inner training, where either can be judged or fitted."""
    return {
        page: (held, rest)
        for page, (held, rest) in leave_pages_out(clips.metas, table).items()
        if _has_both(clips.labels[held]) and any(_has_both(clips.labels[of]) for of in _by_group(clips, rest))
    }


def rank(
    clips: Clips, folds: Sequence[tuple[list[int], list[int]]], cs: Sequence[float], whitens: Sequence[float]
) -> list[Penalties]:
    """Return all pairs of penalties, the best first: by `criterion`, and of equal ones the stronger penalty."""
    pairs = [*itertools.product(sorted(cs), sorted(whitens, reverse=True))]
    scores = np.concatenate([_scores(clips, held, rest, pairs) for held, rest in folds], axis=1)
    positions = np.concatenate([held for held, _ in folds])
    labels = clips.labels[positions]
    page = np.repeat(np.arange(len(folds)), [len(held) for held, _ in folds])
    found = [
        Penalties(*pair, roc.auc_within(labels, row, page), roc.auc(labels, row))
        for pair, row in zip(pairs, scores, strict=True)
    ]
    return sorted(found, key=lambda pair: -pair.criterion)


def _scores(clips: Clips, held: list[int], rest: list[int], pairs: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the scores (P, N) of clips that are left out, with each pair of penalties.

    They are those of `centred_regression`. A direction is a sum of training clips, so clips are first described by
    their n coordinates in the space of these, which takes a tenth of the time of M values.
    """
    labels, groups = clips.labels[rest], clips.groups[rest]
    values = clips.values[rest]
    scale = scale_within(values, labels, groups)
    centre = values.mean(axis=0)
    values = (values - centre) / scale
    variance, vectors = np.linalg.eigh(values @ values.T)
    kept = variance > 1e-9 * variance[-1]
    basis = values.T @ (vectors[:, kept] / np.sqrt(variance[kept]))
    values = values @ basis
    judged = (clips.values[held] - centre) / scale @ basis
    directions = np.stack([regression(values, labels, groups, *pair) for pair in pairs], axis=1)
    return (judged @ directions / (values @ directions).std(axis=0)).T


def _by_group(clips: Clips, positions: Sequence[int]) -> Iterator[np.ndarray]:
    groups = clips.groups[positions]
    return (np.asarray(positions)[groups == group] for group in np.unique(groups))


def _has_both(labels: np.ndarray) -> bool:
    return bool(0 < labels.sum() < len(labels))
