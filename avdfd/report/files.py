"""The files of an evaluation."""

import json

from avdfd import report
from avdfd.core.files import write_atomic, write_csv
from avdfd.evaluation.evaluate import Evaluation
from avdfd.evaluation.scored_clips import csv_rows


def write(done: Evaluation) -> None:
    """Write scores.csv, report.html and, last, report.json: where it exists, the other two do."""
    write_csv(done.folder / "scores.csv", csv_rows(done.clips))
    write_atomic(done.folder / "report.html", report.build(done.result).encode())
    write_atomic(done.folder / "report.json", (json.dumps(done.result, indent=2, allow_nan=False) + "\n").encode())
