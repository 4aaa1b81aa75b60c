"""Section of the report on the distance from the training data."""

from avdfd import report
from avdfd.evaluation.domain import NOT_TRAINED, summarise
from avdfd.report import domain
from tests.helpers.scored import made_up_clips, made_up_result
from tests.unit.evaluation.test_domain import made_up_domain, with_distances


def made_up_section():
    clips = with_distances(made_up_clips(), [1.0] * 24 + [5.0] * 24)
    return made_up_result(clips, domain=summarise(clips, made_up_domain(), "fused", None))


def test_sentence_table_and_page_say_the_same():
    result = made_up_section()
    said = report.summary_text(result)
    assert "Out of domain: 50.0 % of the clips (RVRA 0.0 %, RVFA 0.0 %, FVRA 100.0 %, RVFA-SVC 100.0 %)" in said
    assert "its scores say nothing about real recordings" in said
    of = result["domain"]["ranges"][-1]
    row = ["out", "of", "domain", "24", "24", "-", f"{of['misses']:.3f}", "-"]
    assert row in [line.split() for line in said.splitlines()]
    page = domain.domain_html(result)
    assert "Is this what it was trained on?" in page
    assert f"<td class=num>{of['misses']:.3f}</td>" in page
    assert "<td class=num>5.00 (100)</td>" in page
    assert "download='domain.csv'" in page


def test_what_is_not_known_is_said():
    result = made_up_result(domain={"missing": NOT_TRAINED})
    assert f"Distance from the training data: not known, {NOT_TRAINED}." in report.summary_text(result)
    assert domain.domain_text(result) == []
    assert "not known" in domain.domain_html(result)
    assert domain.domain_html(made_up_result()) == "", "a report of an earlier version"


def test_coverage_is_drawn_against_errors():
    errors = ((0.05, 0.5, 0.2), (0.01, 0.3, 0))
    rows = [{"allowed": a, "coverage": c, "false_alarms": f, "misses": 0.1} for a, c, f in errors]
    figure = report.draw(made_up_result(coverage=rows))["coverage"]
    first, second = figure.axes[0].lines
    assert ([*first.get_xdata()], [*first.get_ydata()]) == ([0.3, 0.5], [0, 0.2])
    assert [*second.get_ydata()] == [0.1, 0.1]
    assert "coverage" not in report.draw(made_up_result())
