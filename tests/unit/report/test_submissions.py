"""Forms of hidden tests: the rules of the published evaluations, and what is refused."""

import csv
import io
import json
import math
import zipfile
from typing import Any

import pytest

from avdfd.core.errors import UserError, WorkError
from avdfd.report.submissions import FORMS, check, encode, proposals

WINDOWS = [
    {"start": 0.0, "end": 3.072, "score": 0.1},
    {"start": 1.536, "end": 4.608, "score": 0.9},
    {"start": 3.072, "end": 6.144, "score": 0.2},
]
RESULTS: dict[str, dict[str, Any]] = {
    "000001.mp4": {"score": 0.9128, "probability": 0.8, "windows": WINDOWS},
    "000002.mp4": {"score": 0.0174, "probability": None, "windows": WINDOWS[:1]},
    "a b/000003.mp4": {"score": None, "probability": None, "windows": []},
}
WHOLE = {name: line for name, line in RESULTS.items() if line["score"] is not None}


def read_detection(data):
    """As auc.py of AV-Deepfake1M reads it: no header, cells separated by `;`, looked up by name."""
    return {name: float(value) for name, value in csv.reader(io.StringIO(data.decode()), delimiter=";")}


def read_asvspoof5(data, names):
    """As evaluation-package/util.py reads it: a header, tabs, and exactly the names of the key."""
    rows = [*csv.DictReader(io.StringIO(data.decode()), delimiter="\t")]
    assert set(rows[0]) == {"filename", "cm-score"}
    assert {row["filename"] for row in rows} == set(names)
    assert len(rows) == len(names)
    return {row["filename"]: float(row["cm-score"]) for row in rows}


def test_detection_of_av_deepfake1m():
    found = read_detection(encode("av-deepfake1m-detection", RESULTS, 0.5))
    assert found == {"000001.mp4": 0.9128, "000002.mp4": 0.0174, "a b/000003.mp4": 0.5}


def test_localisation_of_av_deepfake1m():
    found = json.loads(encode("av-deepfake1m-localisation", RESULTS, 0.5))
    assert list(found) == list(RESULTS)
    assert found["a b/000003.mp4"] == []
    for lines in found.values():
        assert [line[0] for line in lines] == sorted((line[0] for line in lines), reverse=True)
        for confidence, start, end in lines:
            assert 0 < confidence <= 1
            assert 0 <= start < end <= 6.15
            assert (round(confidence, 4), round(start, 2), round(end, 2)) == (confidence, start, end)


def test_proposals_are_those_of_the_score_over_time():
    """The mean of overlapping windows is 0.1, 0.5, 0.55 and 0.2: the middle, then all but the first quarter, ..."""
    assert proposals(WINDOWS)[0] == [0.55, 3.07, 4.61]
    assert [0.525, 1.54, 4.61] in proposals(WINDOWS)
    assert proposals([{"start": 0.0, "end": 3.072, "score": 0.00001}]) == []


def test_the_archive_has_both_files_under_their_published_names():
    data = encode("av-deepfake1m", WHOLE, None)
    assert data == encode("av-deepfake1m", WHOLE, None)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["prediction.txt", "prediction.json"]
        assert read_detection(archive.read("prediction.txt")) == {n: line["score"] for n, line in WHOLE.items()}
        assert json.loads(archive.read("prediction.json")).keys() == WHOLE.keys()


def test_asvspoof5_scores_bona_fide_higher():
    results = {
        "flac_E/E_1.flac": {"score": 0.6, "probability": 0.8, "windows": []},
        "flac_E/E_2.flac": {"score": 0.25, "probability": None, "windows": []},
        "flac_E/E_3.flac": {"score": 1.0, "probability": 1.0, "windows": []},
        "flac_E/E_4.flac": {"score": 0.0, "probability": 0.0, "windows": []},
    }
    found = read_asvspoof5(encode("asvspoof5", results, None), ["E_1", "E_2", "E_3", "E_4"])
    assert found["E_1"] == pytest.approx(math.log(0.2 / 0.8)), "at the temperature of validation"
    assert found["E_2"] == pytest.approx(math.log(0.75 / 0.25))
    assert found["E_3"] < found["E_1"] < found["E_2"] < found["E_4"]
    assert all(map(math.isfinite, found.values()))


def test_plain_csv():
    rows = [*csv.reader(io.StringIO(encode("csv", {"=a,b.mp4": WHOLE["000001.mp4"]}, None).decode()))]
    assert rows == [["file", "score"], ["'=a,b.mp4", "0.9128"]], "no spreadsheet computes a name"


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_a_score_needs_a_stated_one(form):
    with pytest.raises(WorkError, match=r"1 of 3 files have no score, e.g. a b/000003.mp4, .* with --missing"):
        encode(form, RESULTS, None)
    assert encode(form, RESULTS, 0.5)


@pytest.mark.parametrize(
    ("form", "names", "said"),
    [
        ("av-deepfake1m-detection", ["a;b.mp4"], "'a;b.mp4' cannot be written in this form"),
        ("av-deepfake1m", ['"a.mp4'], "cannot be written"),
        ("asvspoof5", ["a\tb.flac"], r"'a\\tb' cannot be written"),
        ("asvspoof5", ["x/a.flac", "y/a.wav"], "two files are called 'a' without folder and suffix"),
    ],
)
def test_names_that_a_form_cannot_hold(form, names, said):
    with pytest.raises(UserError, match=said):
        check(form, names)
    check("csv", names)
