"""Tables of false alarms on vocoded real clips."""

from avdfd.evaluation.grouped_metrics import FALSE_ALARMS
from avdfd.report.vocoded import vocoded_html, vocoded_rows

ALARMS = {FALSE_ALARMS: 0.1, f"{FALSE_ALARMS}_interval": [0.0, 0.2]}


def result(fused, method="opus"):
    """A report with one method; the branch `later` was not scored on such clips."""
    part = {"clips": 4, "identities": 2, "fused": fused, "other": {}}
    found = {"all": part, "methods": {method: part}, "real": {"fused": fused, "other": {}}}
    return {"vocoded": found, "branches": ["fused", "other", "later"]}


def test_rows_have_all_clips_each_method_and_the_other_real_clips():
    head, *rows = vocoded_rows(result(ALARMS))
    assert head == ["false alarms on vocoded real clips", "clips", "identities", "fused", "other"]
    assert [row[0] for row in rows] == ["all of RVRA-V", "opus", "other real clips (RVRA)"]
    assert rows[0][1:] == ["4", "2", "0.100 [0.000, 0.200]", "–"]
    assert rows[2][1:] == ["", "", "0.100 [0.000, 0.200]", "–"]


def test_the_page_says_why_there_are_no_false_alarms():
    assert "there is no threshold" not in vocoded_html(result(ALARMS))
    assert "there is no threshold" in vocoded_html(result({}))


def test_names_are_escaped():
    html = vocoded_html(result(ALARMS, "<b>"))
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_nothing_without_such_clips():
    assert (vocoded_rows({}), vocoded_html({})) == ([], "")
