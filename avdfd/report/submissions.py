"""Scores in the forms in which hidden tests take them, from the results of detect.py (`avdfd.inference.verdict`).

av-deepfake1m               the archive for Codabench: both of the following, under their published names
av-deepfake1m-detection     `name;P(fake)` per line, without a header; higher is fake
av-deepfake1m-localisation  JSON, name -> [[confidence, start, end], ...] in seconds, below 4 GB
asvspoof5                   `filename<tab>cm-score` with this header, name without suffix; higher is bona fide
csv                         `file,score` with this header, score is P(fake)

The published evaluations look every file of the test up by its name, so a form has every listed video once, and one
without a score is an error unless the user states a score for it.

References:
    1M-Deepfakes Detection Challenge, https://deepfakes1m.github.io/2025/details and /2025/evaluation: both files, their
    names and size. ControlNet/AV-Deepfake1M, python/avdeepfake1m/evaluation/auc.py and src/loc_1d.rs: how they are
    read; examples/batfd/batfd/post_process.py: 4 decimals of a confidence above 0, 2 of a time.
    asvspoof-challenge/asvspoof5, evaluation-package/README.md and util.py: columns, and equal sets of names.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import csv_text
from avdfd.metrics.localisation import curve, propose
from avdfd.metrics.roc import Floats

DETECTION, LOCALISATION = "prediction.txt", "prediction.json"
"""Names of the files in the archive for Codabench."""
_MOST_BYTES = 4 * 10**9
_DATE = (1980, 1, 1, 0, 0, 0)  # equal results give equal archives
_NEAREST = 2.0**-53  # to 1, of a float: the log-odds of a saturated score stay finite

Results = Mapping[str, Mapping[str, Any]]
"""Name of a video as it is listed -> its result, with a score."""


def check(form: str, names: Sequence[str]) -> None:
    """Raise UserError for a name that a form cannot hold."""
    FORMS[form]({name: {"score": 0.5, "probability": None, "windows": []} for name in names})


def encode(form: str, results: Mapping[str, Mapping[str, Any]], missing: float | None) -> bytes:
    """Return the file of a form, one of FORMS, for the results of all listed videos by name.

    Videos without a score get `missing` and no proposals. Raises WorkError if there are some and it is None.
    """
    absent = [name for name, line in results.items() if line["score"] is None]
    if absent and missing is None:
        raise WorkError(
            f"{form}: {len(absent)} of {len(results)} files have no score, e.g. {absent[0]}, and the form needs one of "
            "each: state P(fake) for them with --missing, such as 0.5"
        )
    filled: dict[str, Mapping[str, Any]] = {
        name: {"score": missing, "probability": missing, "windows": []} for name in absent
    }
    return FORMS[form]({**results, **filled})


def _plain(results: Results) -> bytes:
    rows = [(name, repr(float(line["score"]))) for name, line in results.items()]
    return csv_text([("file", "score"), *rows]).encode()


def _detection(results: Results) -> bytes:
    _check_names(results, ';"')
    return "".join(f"{name};{float(line['score'])!r}\n" for name, line in results.items()).encode()


def _localisation(results: Results) -> bytes:
    data = json.dumps({name: proposals(line["windows"]) for name, line in results.items()}).encode()
    if len(data) >= _MOST_BYTES:
        raise WorkError(f"{LOCALISATION} has {len(data)} bytes, but the test takes less than {_MOST_BYTES}")
    return data


def _archive(results: Results) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in ((DETECTION, _detection(results)), (LOCALISATION, _localisation(results))):
                archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
        return file.getvalue()


def _asvspoof5(results: Results) -> bytes:
    """Return the log-odds of bona fide, at the temperature of validation if there is one.

    They are log-likelihood ratios, as CLLR and actDCF take them, but for calibration and the prior of fakes in
    validation; minDCF and EER do not depend on that.
    """
    stems = [PurePosixPath(name).stem for name in results]
    twice = next((stem for stem, count in Counter(stems).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"two files are called '{twice}' without folder and suffix, which names a trial in ASVspoof 5")
    _check_names(stems, '\t"')
    fake = np.clip([_calibrated(line) for line in results.values()], 2.0**-1000, 1 - _NEAREST)
    scores = np.log1p(-fake) - np.log(fake)
    rows = (f"{stem}\t{score!r}\n" for stem, score in zip(stems, scores.tolist(), strict=True))
    return ("filename\tcm-score\n" + "".join(rows)).encode()


FORMS: dict[str, Callable[[Results], bytes]] = {
    "av-deepfake1m": _archive,
    "av-deepfake1m-detection": _detection,
    "av-deepfake1m-localisation": _localisation,
    "asvspoof5": _asvspoof5,
    "csv": _plain,
}
"""Form -> function from the results to the content of its file."""


def proposals(windows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return `[confidence, start, end]` of the proposals of a file from its windows, the most certain first.

    They are those of `avdfd.metrics.localisation` from P(fake) over time, as evaluate.py measures them. A period that
    is rounded to nothing, or a confidence, is left out.
    """
    if not windows:
        return []
    start, end, score = (_column(windows, name) for name in ("start", "end", "score"))
    found = propose(curve(start, end, score[:, None]))
    rows = [
        [round(value, 4), round(first, 2), round(last, 2)]
        for value, (first, last) in zip(found.scores.tolist(), found.segments.tolist(), strict=True)
    ]
    return [row for row in rows if row[0] > 0 and row[1] < row[2]]


def _column(windows: Sequence[Mapping[str, Any]], name: str) -> Floats:
    return np.array([window[name] for window in windows], np.float64)


def _calibrated(line: Mapping[str, Any]) -> float:
    """Return P(fake) at the temperature of validation, or the score if there is none."""
    probability = line["probability"]
    return float(line["score"] if probability is None else probability)


def _check_names(names: Sequence[str] | Results, forbidden: str) -> None:
    """Raise UserError for a name that would be read as something else: these forms quote nothing."""
    for name in names:
        if any(letter in forbidden or not letter.isprintable() for letter in name) or name != name.strip():
            raise UserError(f"{name!r} cannot be written in this form, which separates without quotes; rename the file")
