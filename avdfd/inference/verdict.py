"""The result for one media file: its score and those of its branches and windows, or the reason for having none."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avdfd.inference.columns import DISTANCE, WEIGHT, best_lag
from avdfd.media.streams import Reading
from avdfd.metrics.calibration import at_temperature
from avdfd.metrics.domain import OVERALL
from avdfd.metrics.pooling import pooled
from avdfd.metrics.selective import Band, Decision

if TYPE_CHECKING:  # tables of verdicts need no torch
    from avdfd.inference.domain import Domain
    from avdfd.inference.inspection import Inspection

AT_ONE_HALF = Decision(Band(0.5, 0.5))
"""Decision of a run that was not evaluated on validation."""

OUTSIDE = "out of domain"
"""Verdict on a clip that is unlike all that the run was trained on."""
BRANCHES = ("audio", "visual", "consistency", "picture")
"""Branches of detectors, with two (audio, visual) or three (audio, consistency, picture), in the order of printing."""


def verdict(
    file: Path,
    seen: "Inspection | None" = None,
    decision: Decision = AT_ONE_HALF,
    error: str | None = None,
    reading: Reading | None = None,
    left_out: Sequence[Mapping[str, Any]] = (),
    domain: "Domain | None" = None,
) -> dict[str, Any]:
    """Return the result for a file, in the order of printing; None for what is not known.

    `probability` is the score at the temperature of validation. Scores of windows are pooled as the decision says, and
    explanations averaged. With a `domain`, a file that is out of it is neither real nor fake, and `domain` has its
    distance from the training data, and the percentage of calibration clips that are nearer, in each branch and
    overall, where 1 is the limit.
    """
    judged = seen.judged() if seen else None

    def mean(name: str) -> float | None:
        return float(judged.columns[name].mean()) if judged and name in judged.columns else None

    def pooled_score(name: str) -> float | None:
        if judged is None or name not in judged.columns:
            return None
        scores = judged.columns[name]
        return float(pooled(scores, np.zeros(len(scores), np.int64), decision.windows)[0])

    main = judged.branches[-1] if judged else "none"
    score = pooled_score(main)
    lag = best_lag(judged.columns["agreement"].mean(axis=0)) if judged and "agreement" in judged.columns else None
    far = {} if judged is None or domain is None else _distances(judged, domain)
    short = all(window.short for window in seen.windows) if seen else None
    place = domain.place(far, short=bool(short)) if domain and far else None
    outside = place is not None and place[OVERALL]["distance"] > 1
    windows = zip(judged.windows, judged.columns[main].tolist(), strict=True) if judged else ()
    return {
        "file": str(file),
        "score": score,
        "verdict": None if score is None else OUTSIDE if outside else decision.band.call(score),
        "probability": None
        if score is None or decision.temperature is None
        else float(at_temperature(score, decision.temperature)),
        "calibrated": None if score is None else decision.calibrated,
        **{f"{branch}_score": pooled_score(branch) for branch in BRANCHES},
        **{f"weight_{branch}": mean(f"{WEIGHT}{branch}") for branch in BRANCHES},
        "domain": place,
        "lag_ms": None if lag is None else float(lag),
        "basis": None if seen is None else "audio alone" if seen.branches == ("audio",) else "audio and video",
        "windows": [
            {"start": cut.start, "end": cut.end, "score": value, "face": cut.face.facts() if cut.face else None}
            for cut, value in windows
        ],
        "short": short,
        "faces": [asdict(face) | {"verdict": decision.band.call(face.score)} for face in seen.faces()] if seen else [],
        "error": error,
        "audio_stream": reading.audio_stream if reading else None,
        "video_stream": reading.video_stream if reading else None,
        "damaged_frames": reading.damaged_frames if reading else None,
        "dropped_frames": reading.dropped_frames if reading else None,
        "notes": reading.remarks() if reading else [],
        "left_out": [*left_out],
    }


def _distances(judged: "Inspection", domain: "Domain") -> dict[str, float]:
    """Return the distance of a file from the training data in each branch that has one: the mean over its windows."""
    names = {branch: f"{DISTANCE}{branch}" for branch in domain.calibration}
    return {branch: float(judged.columns[name].mean()) for branch, name in names.items() if name in judged.columns}


def table(lines: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return the results for files, as `verdict` makes them, as a table with a header; without what is a list.

    `domain` is a column for each of its numbers.
    """
    names = [name for name, value in verdict(Path()).items() if not isinstance(value, list) and name != "domain"]
    places = [(name, number) for name in (OVERALL, *BRANCHES) for number in ("distance", "percentile")]
    rows = [
        [line[name] for name in names]
        + [((line["domain"] or {}).get(name) or {}).get(number) for name, number in places]
        for line in lines
    ]
    return [[*names, *(f"domain_{name}_{number}" for name, number in places)], *rows]
