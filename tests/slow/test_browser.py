"""The pages in a real browser: no error, no request, no overflow, and tables that sort."""

import os
import shutil
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

import evaluate
from avdfd import report
from avdfd.elements.form import encode_frame
from avdfd.evaluation.compare import compare
from avdfd.evaluation.stored import StoredEvaluation
from avdfd.report import comparison
from tests.helpers.runs import make_both_stages, make_store
from tests.helpers.scored import BRANCHES, made_up_clips, made_up_result, made_up_voices

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (bash setup.sh --dev)")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (390, 1440)
A4 = 794
"""Width of a sheet in pixels of CSS."""


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on the PATH, and CHROMIUM is not set")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report and a comparison of made-up scores as files, and what evaluate.py writes of a small run."""
    folder = tmp_path_factory.mktemp("pages")
    clips = made_up_clips((*BRANCHES, "another-system-of-a-long-name"))
    frame = b64encode(encode_frame(np.full((112, 336, 3), 99, np.uint8), 80)).decode()
    bad = {"picture": frame, "key": "0" * 40, "start": 1.0} | {"tier": "RVFA", "label": 1, "score": 0.1, "wrong": 1}
    bad |= {"scores": dict.fromkeys(BRANCHES, 0.1)}
    bad |= {"clip": "RealVideo-FakeAudio-VoiceClone/African/women/id00001/00000_of_a_long_name.mp4"}
    failures = {"videos": "/data/videos", "worst": [bad] * 4}
    whole = made_up_result(clips, fitted=True, failures=failures, voices=made_up_voices(clips))
    (folder / "report.html").write_text(report.build(whole))
    systems = []
    for seed, name in enumerate(("ours", "baseline-mrdf", "another-system-of-a-long-name")):
        scored = made_up_clips((name,), seed=seed)
        result = made_up_result(made_up_clips(("fused",), seed=seed))
        systems.append(StoredEvaluation(name, Path(name), result, scored))
    result = compare(systems, "ours", replicates=50, seed=0)
    (folder / "compare.html").write_text(comparison.build(result))
    data = make_store(folder / "data")
    _, run = make_both_stages(folder / "runs", data)
    tested = ["--audit", "--counterfactuals", "--robustness", "sound_late", "noise"]
    evaluate.main(["--run", str(run), *tested, "--bootstrap", "20"])
    (run / "eval" / "test" / "report.html").rename(folder / "evaluated.html")
    return folder


@pytest.fixture(params=["report", "compare", "evaluated"])
def opened(browser, pages, request):
    """A page as it opens from disk; what it asked for, and what its console said."""
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda wanted: asked.append(wanted.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((pages / f"{request.param}.html").as_uri())
    yield page, asked, said
    page.close()


def test_asks_for_nothing_and_complains_of_nothing(opened):
    page, asked, said = opened
    assert said == []
    assert [url for url in asked[1:] if not url.startswith("data:")] == []
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate(
        "document.querySelectorAll('figure a[download]').length === document.querySelectorAll('figure h3').length"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_fits(opened, width):
    page, _, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('main > *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert page.evaluate(f"{wide}.length") == 0


def test_fits_on_paper(opened):
    page, _, _ = opened
    page.set_viewport_size({"width": A4, "height": 1123})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4


def test_tables_sort_by_keyboard(opened):
    page, _, _ = opened
    head = page.locator("table").first.locator("thead th").nth(1)

    def values() -> list[float]:
        cells = page.locator("table").first.locator("tbody td:nth-child(2)").all_text_contents()
        return [float(cell[:5]) for cell in cells]

    before = values()
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    page.locator("table").first.locator("thead th").first.get_by_role("button").click()
    names = page.locator("table").first.locator("tbody th").all_text_contents()
    assert names == sorted(names, key=str.lower)
    assert page.locator("[aria-sort]").count() == 1


def test_every_column_of_every_table_sorts(opened):
    page, _, said = opened
    for table in page.locator("table:has(thead)").all():
        rows = sorted(table.locator("tbody tr").all_text_contents())
        buttons = table.locator("thead th button")
        assert buttons.count() == table.locator("thead th").count()
        for button in buttons.all():
            button.evaluate("button => button.click()")
        assert sorted(table.locator("tbody tr").all_text_contents()) == rows
    counts = page.locator("tbody:has(.group)").last.locator("td:last-child").all_text_contents()
    assert counts == sorted(counts, key=int, reverse=True)
    assert said == []
