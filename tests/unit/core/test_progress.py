import sys

import pytest

from avdfd.core.progress import Bar


@pytest.fixture
def paced(monkeypatch):
    """Items that take 8 s each by the clock that bars look at."""
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def items(count):
        for item in range(count):
            now[0] += 8
            yield item

    return items


def counts(capsys) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    return [line.split("|")[2].split()[0] for line in err.splitlines()]


def test_a_log_has_a_line_every_thirty_seconds_and_a_last_one(paced, capsys):
    assert list(Bar(paced(9), total=9, desc="detect", unit="file")) == [*range(9)]
    assert counts(capsys) == ["4/9", "8/9", "9/9"]


def test_the_last_line_is_not_said_twice(paced, capsys):
    list(Bar(paced(8), total=8))
    assert counts(capsys) == ["4/8", "8/8"]


def test_a_short_loop_says_nothing(paced, capsys):
    for count in (0, 1, 3):
        assert list(Bar(paced(count), total=count)) == [*range(count)]
    assert capsys.readouterr() == ("", "")


def test_a_temporary_bar_has_no_last_line(paced, capsys):
    list(Bar(paced(9), total=9, leave=False))
    assert counts(capsys) == ["4/9", "8/9"]


def test_values_wait_for_the_next_line(paced, capsys):
    with Bar(total=5, desc="train") as bar:
        for loss in paced(5):
            bar.set_postfix(loss=loss)
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit("loss=")[1] for line in lines] == ["3]", "4]"]


def test_a_disabled_bar_says_nothing(paced, capsys):
    list(Bar(paced(9), total=9, disable=True))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(paced, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(Bar(paced(3), total=3, desc="detect", ncols=80)) == [0, 1, 2]
    assert "\rdetect: 100%" in capsys.readouterr().err


def test_text_between_makes_no_line_of_its_own(paced, capsys):
    """detect.py writes its results through the bar."""
    for item in Bar(paced(9), total=9, desc="detect", unit="file"):
        Bar.write(f"result {item}", file=sys.stdout)
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"result {item}" for item in range(9)]
    assert "\r" not in err
    assert [line.split("|")[2].split()[0] for line in err.splitlines()] == ["4/9", "8/9", "9/9"]
