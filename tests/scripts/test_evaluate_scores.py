"""evaluate.py --scores, and compare.py with what it writes."""

import json

import pytest

import compare
import evaluate
from avdfd import report
from avdfd.core.errors import UserError
from tests.helpers.runs import make_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


@pytest.fixture
def run(small_store, tmp_path):
    run = make_run(tmp_path, "train", small_store)
    evaluate.main(["--run", str(run), "--bootstrap", "20", "--device", "cpu"])
    return run


def test_scores_are_judged_and_compared(run, tmp_path, capsys):
    """A file of scores is another system to compare.py; the run's own has no difference from the run."""
    scores, theirs = run / "eval" / "test" / "scores.csv", tmp_path / "theirs"
    given = ["--scores", str(scores), "--run", str(theirs), "--against", str(run), "--bootstrap", "20"]
    assert evaluate.main(given) == 0
    assert "Protocol: scores from a file" in capsys.readouterr().out
    compare.main([str(run), str(theirs), "--out", str(tmp_path / "out"), "--bootstrap", "20"])
    result = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert {pair["difference"] for pair in result["paired"]["theirs"].values()} == {0.0}
    assert result["overall"]["theirs"] == result["overall"]["train"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--scores x.csv --robustness", "--robustness needs a model"),
        ("--scores x.csv --counterfactuals", "--counterfactuals needs a model"),
        ("--run x --higher-is-real", "--higher-is-real goes with --scores"),
        ("--run x --splits x", "--splits goes with --scores"),
        ("--split test", "name the run to evaluate with --run"),
    ],
)
def test_options_that_do_not_go_together(given, said, tmp_path):
    with pytest.raises(UserError, match=said):
        evaluate.main(given.split())
