import itertools
import sys

import pytest

from avdfd.core import progress as module
from avdfd.core.progress import progress


def test_a_log_has_a_line_every_thirty_seconds(capsys):
    seconds = itertools.count(0, 8)
    items = list(progress(range(8), total=8, title="detect", unit="file", clock=lambda: next(seconds)))
    assert items == [*range(8)]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["detect: 4 of 8 files", "detect: 8 of 8 files"]


def test_a_short_loop_says_nothing(capsys):
    assert list(progress("ab", total=2, title="detect", unit="file", clock=lambda: 0.0)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(monkeypatch):
    drawn = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module, "tqdm", lambda items, **settings: drawn.append(settings) or items)
    assert list(progress("ab", total=2, title="detect", unit="file")) == ["a", "b"]
    assert drawn == [{"total": 2, "desc": "detect", "unit": "file"}]


@pytest.mark.parametrize("count", [0, 1])
def test_few_items(count):
    assert list(progress(range(count), total=count, title="detect", unit="file")) == [*range(count)]
