"""The gallery of worst errors: the right clips are chosen and shown."""

from base64 import b64decode
from dataclasses import replace

import cv2
import numpy as np
import pytest

from avdfd import report
from avdfd.elements import ElementStore
from avdfd.evaluation.pooling import per_window, pool
from avdfd.evaluation.worst_errors import gallery, thumbnail, worst
from avdfd.inference.scoring import Scores
from avdfd.report import gallery as page
from tests.helpers.scored import made_up_result


@pytest.fixture(scope="module")
def store(small_store):
    return ElementStore(small_store / "elements")


@pytest.fixture
def judged(store):
    """Scores with three planted errors, two fakes and a real clip; the second window of each is the most wrong."""
    sources = sorted({meta.source for meta in store.metas})
    fakes = [source for source in sources if "RealVideo-RealAudio" not in source]
    reals = [source for source in sources if "RealVideo-RealAudio" in source]
    planted = {fakes[3]: 0.01, fakes[5]: 0.05, reals[2]: 0.97}
    for number, source in enumerate(reals):
        planted.setdefault(source, 0.1 + number / 100)
    score = np.array([planted.get(meta.source, 0.9 + 0.01 * (meta.label == 0)) for meta in store.metas])
    later = np.array([meta.start > 0 for meta in store.metas])
    wrong = np.where([meta.label for meta in store.metas], -1, 1)
    scores = Scores([meta.key for meta in store.metas], {"fused": score + 0.005 * wrong * np.where(later, 1, -1)})
    return pool(store.metas, scores), per_window(store.metas, scores), [fakes[3], fakes[5], reals[2]]


def test_the_worst_are_picked(store, judged):
    clips, windows, planted = judged
    found = worst(clips, windows, store.metas, "fused")
    fakes, reals = ([one for one in found if one["label"] == label] for label in (1, 0))
    assert [one["clip"] for one in fakes[:2]] == planted[:2]
    assert reals[0]["clip"] == planted[2]
    assert fakes[0]["score"] == fakes[0]["scores"]["fused"] == pytest.approx(0.01)
    assert fakes[0]["wrong"] == 1  # every real scores higher
    assert all(one["start"] == 1.0 for one in [*fakes[:2], reals[0]])
    assert {meta.key: meta.source for meta in store.metas}[fakes[0]["key"]] == planted[0]
    assert len(worst(clips, windows, store.metas, "fused", count=1)) == 2


def test_nothing_is_wrong_with_a_perfect_system(store, judged):
    clips, windows, _ = judged
    perfect = replace(clips, scores={"fused": clips.label[None].astype(float)})
    assert worst(perfect, windows, store.metas, "fused") == []
    assert "No fake scores below a real clip." in page.gallery_html({"failures": {"worst": [], "videos": None}})


def test_thumbnail_shows_the_element(store):
    key = store.metas[0].key
    shown = cv2.imdecode(np.frombuffer(b64decode(thumbnail(store, key)), np.uint8), cv2.IMREAD_COLOR_RGB)
    frames = store.read(key, mel=False, frames=[0, 38, 76]).frames
    assert shown.shape == (112, 336, 3)
    assert np.abs(shown[:, :112].astype(int) - frames[0][::2, ::2]).mean() < 8


def test_page_has_links_and_commands(store, judged):
    clips, windows, planted = judged
    result = made_up_result(failures=gallery(clips, windows, store, store.metas, "fused", "/data/some videos"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda _: {})
        html = report.build(result)
    assert f"href='file:///data/some%20videos/{planted[0]}'" in html
    assert "detect.py --run runs/x0 &#x27;/data/some videos/" in html
    assert html.count("data:image/jpeg;base64,") == len(result["failures"]["worst"])
    unknown = page.gallery_html(result | {"failures": result["failures"] | {"videos": None}})
    assert "href='file" not in unknown
    assert "With --videos ROOT" in unknown
    assert "With --videos ROOT" not in html


def test_the_window_shown_of_a_fake_is_a_fake_one(store, judged):
    """The second windows, which are the most wrong, are real here."""
    clips, windows, planted = judged
    first = np.array([meta.start == 0 for meta in store.metas])
    found = worst(clips, replace(windows, label=windows.label * first), store.metas, "fused")
    assert [one["start"] for one in found if one["clip"] in planted] == [0.0, 0.0, 1.0]
