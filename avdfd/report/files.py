"""The files of evaluations, and the text that a script prints about them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd import report
from avdfd.core.files import write_atomic, write_csv
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, as_rows
from avdfd.evaluation.evaluate import Evaluation
from avdfd.evaluation.scored_clips import csv_rows
from avdfd.inference import domain
from avdfd.report.card import write_card
from avdfd.report.pages import folds_text, pages_text

_NOT_ALWAYS = ("windows.csv", "frames.npz", "prediction.csv", LEFT_OUT)
"""Files that not every evaluation has."""


def write(done: Evaluation) -> str:
    """Write scores.csv, windows.csv, report.html and report.json; return the tables and the path of the page as text.

    For the clips of lists, prediction.csv is written too, frames.npz for a system that scores frames, on validation
    domain.safetensors, and left_out.csv for scores from a file, which has windows.csv only if the file has the scores
    of windows. What an earlier evaluation wrote there and this one does not is removed. report.json is written last:
    where it exists, the others do. The card of the run gets the figures.
    """
    for name in _NOT_ALWAYS:
        (done.folder / name).unlink(missing_ok=True)
    page = done.folder / "report.html"
    if done.domain:
        write_atomic(done.folder / domain.FILE, domain.encode(done.domain))
    if done.frames:
        with io.BytesIO() as file:
            np.savez_compressed(file, allow_pickle=False, **done.frames)
            write_atomic(done.folder / "frames.npz", file.getvalue())
    write_csv(done.folder / "scores.csv", csv_rows(done.clips))
    if done.windows is not None:
        write_csv(done.folder / "windows.csv", csv_rows(done.windows))
    write_atomic(page, report.build(done.result).encode())
    text = f"{report.summary_text(done.result)}\n\n{page}"
    if done.prediction:
        path, listed = done.folder / "prediction.csv", done.result["listed"]
        write_csv(path, done.prediction)
        text += f"\n{path}: {listed['scored']} of {listed['videos']} videos have a score"
    if done.left_out is not None:
        write_csv(done.folder / LEFT_OUT, [COLUMNS, *as_rows(done.left_out)])
        text += f"\n{done.folder / LEFT_OUT}: {len(done.left_out)} clips and rows that take no part"
    _write_json(done.folder / "report.json", done.result)
    write_card(done.result["run"])
    return text


def write_folds(
    stem: Path,
    summary: Mapping[str, Any],
    pages: Mapping[str, Any] | None,
    probes: Mapping[str, Any] | None = None,
    unknown_methods: Sequence[str] = (),
) -> str:
    """Write `<stem>-folds.json` and, if pages are known, `<stem>-pages.json`; return tables and paths as text.

    `unknown_methods` are those that the folds' table of families did not know; they are listed.
    """
    path = stem.with_name(f"{stem.name}-folds.json")
    _write_json(path, summary)
    text = f"{folds_text(summary)}\n\n{path}"
    if pages:
        text += f"\n\n{write_pages(stem, summary['pooled'], pages, probes, unknown_methods)}"
        if unknown_methods:
            text += f"\n\nmethods without a family in the table of the folds: {', '.join(unknown_methods)}"
    return text


def write_pages(
    stem: Path,
    pooled: Mapping[str, Any],
    pages: Mapping[str, Any],
    probes: Mapping[str, Any] | None = None,
    unknown_methods: Sequence[str] = (),
) -> str:
    """Write `<stem>-pages.json`, which compare.py --pages reads; return table and path as text."""
    path = stem.with_name(f"{stem.name}-pages.json")
    _write_json(path, {"pooled": pooled, **pages, "probes": probes, "unknown_methods": [*unknown_methods]})
    return f"{pages_text(pages, probes)}\n\n{path}"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
