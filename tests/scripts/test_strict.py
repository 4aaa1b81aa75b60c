"""evaluate.py --strict on synthetic corpora: a planted shortcut or leak is exit code 3, a clean corpus 0."""

import json

import pytest

import evaluate
from avdfd import report
from avdfd.core.errors import UserError
from tests.helpers.audit_corpus import IDENTITIES, LISTS, corpus, write_files, write_lists
from tests.helpers.runs import make_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A store without shortcuts and leaks, and its lists."""
    root = tmp_path_factory.mktemp("clean")
    corpus(root / "elements")
    return write_lists(root, LISTS)


def strict(data, tmp_path, *arguments):
    """Return the exit code and the audit of the report."""
    run = make_run(tmp_path, "pretrain", data)
    code = evaluate.main(["--run", str(run), "--bootstrap", "0", "--strict", *arguments])
    return code, json.loads((run / "eval" / "test" / "report.json").read_text())["audit"]


def caught(audit, where):
    return {cue for cue, one in audit["probes"][where]["RVFA"].items() if one["shortcut"]}


def test_a_clean_corpus_is_not_flagged(clean, tmp_path):
    files = write_files(tmp_path / "videos", clean / "elements")
    code, audit = strict(clean, tmp_path, "--probes", str(files))
    assert code == 0
    assert (caught(audit, "elements"), caught(audit, "files"), audit["leaks"]) == (set(), set(), [])
    assert sum(audit["clips"].values()) == 2 * IDENTITIES


def test_a_store_of_audio_alone_is_audited_by_what_it_has(tmp_path):
    corpus(tmp_path / "elements", keep=("wav", "mel.npy"), lead=0.3)
    data = write_lists(tmp_path, LISTS)
    files = write_files(tmp_path / "videos", data / "elements")
    (broken,) = (files / "RealVideo-FakeAudio" / "Asian" / "men" / "id9").iterdir()
    broken.write_bytes(b"no media")
    code, audit = strict(data, tmp_path, "--probes", str(files))
    assert code == evaluate.FOUND
    assert "edge_silence" in caught(audit, "elements")
    assert audit["left_out"]["elements"] == {"RVFA": {"first_frame": "needs frames; the elements have none"}}
    assert list(audit["unreadable"]) == [broken.relative_to(files).as_posix()]
    html = (tmp_path / "pretrain" / "eval" / "test" / "report.html").read_text()
    assert "<td>first_frame</td><td>elements</td><td>RVFA</td><td>needs frames; the elements have none</td>" in html


def test_planted_silence_is_caught(tmp_path):
    corpus(tmp_path / "elements", lead=0.3)
    code, audit = strict(write_lists(tmp_path, LISTS), tmp_path)
    assert code == evaluate.FOUND == 3
    assert "edge_silence" in caught(audit, "elements")
    assert audit["leaks"] == []


@pytest.mark.parametrize(
    ("planted", "cues"), [({"longer": 0.5}, {"duration", "file_size"}), ({"bit_rate": 24_000}, {"bit_rate"})]
)
def test_planted_duration_and_bit_rate_are_caught(clean, tmp_path, planted, cues):
    files = write_files(tmp_path / "videos", clean / "elements", **planted)
    code, audit = strict(clean, tmp_path, "--probes", str(files))
    assert code == evaluate.FOUND
    assert caught(audit, "files") >= cues
    assert caught(audit, "elements") == set()


def test_a_person_under_two_names_is_caught(tmp_path):
    """Identity id9 of the test has a clip of id0, which is in the training split."""
    corpus(tmp_path / "elements", copy=True)
    code, audit = strict(write_lists(tmp_path, LISTS), tmp_path)
    assert code == evaluate.FOUND
    assert caught(audit, "elements") == set()
    (leak,) = audit["leaks"]
    assert (leak["kind"], leak["splits"]) == ("picture+sound", ["test", "train"])


def test_a_person_in_two_splits_is_refused(clean, tmp_path):
    (tmp_path / "elements").symlink_to(clean / "elements")
    data = write_lists(tmp_path, {**LISTS, "test": (0, 9)})
    with pytest.raises(UserError, match="id0"):
        strict(data, tmp_path)
    assert not (tmp_path / "pretrain" / "eval" / "test" / "report.json").exists()
