"""Refinement by multi-inference: several conversions of a clip are scored; the hardest that passes is kept."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import CloneConfig
from avdfd.corpora.cloning.backends import settings_of
from avdfd.corpora.cloning.request import ConversionError, Convert, Request, checked
from avdfd.corpora.cloning.scores import Judge, Scores, SourceFacts


class Plan(NamedTuple):
    """A conversion to try: the reference, the seed, and the settings of the candidate."""

    reference: str
    seed: int
    settings: dict[str, float]


class Outcome(NamedTuple):
    """Result for a clip and tier: the samples (S,) that are kept, if any, and all candidates with their scores."""

    samples: np.ndarray | None
    candidates: list[dict[str, Any]]
    """`reference`, `seed`, `settings`, `scores` if there are any, and `reason`: "" for the one that is kept."""
    failures: int
    """Number of candidates at which the back end failed."""
    reason: str = ""
    """Why no candidate was kept."""


def plans(cfg: CloneConfig, tier: str, source: str, references: Sequence[str]) -> Iterator[Plan]:
    """Yield the conversions of a clip: references and settings in turn, seeds from the clip's name."""
    for number in range(cfg.candidates):
        name = f"{cfg.seed}/{tier}/{source}/{number}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
        turn, place = divmod(number, len(references))
        yield Plan(references[place], seed, settings_of(cfg.backend, turn, seed))


def refine(
    wanted: Iterator[Plan],
    source: SourceFacts,
    references: dict[str, np.ndarray],
    convert: Convert,
    judge: Judge,
    tolerance: float,
) -> Outcome:
    """Try the conversions of a clip; a result may be up to `tolerance` s longer or shorter than the source."""
    tried: list[dict[str, Any]] = []
    passed: dict[int, tuple[Scores, np.ndarray]] = {}
    failures = 0
    for number, plan in enumerate(wanted):
        candidate: dict[str, Any] = plan._asdict()
        try:
            request = Request(source.samples, references[plan.reference], plan.seed, plan.settings)
            samples = checked(convert(request), source.samples, tolerance)
            scores = judge.score(samples, source)
            candidate |= {"scores": scores._asdict(), "reason": scores.failing(judge.cfg, source)}
            if not candidate["reason"]:
                passed[number] = scores, samples
        except ConversionError as error:
            failures += 1
            candidate["reason"] = str(error)
        tried.append(candidate)
    if not passed:
        reasons = dict.fromkeys(candidate["reason"] for candidate in tried)
        return Outcome(None, tried, failures, "no candidate passed: " + "; ".join(reasons))
    kept = judge.hardest([(number, scores) for number, (scores, _) in passed.items()])
    for number in passed.keys() - {kept}:
        tried[number]["reason"] = f"candidate {kept} is harder"
    return Outcome(passed[kept][1], tried, failures)
