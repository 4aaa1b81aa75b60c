"""Facts about training data, and the part of a report on how far clips are from it."""

from dataclasses import replace

import numpy as np
import pytest

from avdfd.elements import ElementStore
from avdfd.evaluation import domain
from avdfd.inference.domain import Domain
from tests.helpers.runs import make_store
from tests.helpers.scored import made_up_clips
from tests.unit.elements import meta


def made_up_domain():
    """Return a domain whose distances on validation are 0.01 to 4, and those of short clips half of that."""
    known = np.arange(1, 401) / 100
    facts = {"corpus": domain.corpus_facts("data/x", [meta("a", "RVFA", method="klatt")]), "audio": {}}
    return Domain([], {"audio": known}, {"audio": known / 2}, facts)


def with_distances(clips, values):
    return replace(clips, distances={"audio": np.asarray(values, np.float64)})


def test_errors_are_counted_by_distance():
    """The limit is the 397th of 400 distances: 3.97."""
    clips = made_up_clips(("audio",))
    far = np.full(len(clips), 1.0)
    far[clips.tier == "FVRA"] = 3.0
    far[clips.tier == "RVFA"] = 3.9
    far[clips.tier == "RVFA-SVC"] = 4.5
    clips = with_distances(clips, far)
    found = domain.summarise(clips, made_up_domain(), "audio", {"eer_threshold": [0.6]})
    assert found["outside"] == 0.25
    assert {tier: of["outside"] for tier, of in found["tiers"].items()} == {
        "RVRA": 0, "RVFA": 0, "FVRA": 0, "RVFA-SVC": 1,
    }  # fmt: skip
    assert found["tiers"]["FVRA"]["median"]["audio"] == {"distance": 3.0, "percentile": 74.75}
    assert found["tiers"]["RVFA-SVC"]["median"]["overall"]["distance"] == pytest.approx(4.5 / 3.97)
    assert [(one["distance"], one["clips"], one["fakes"]) for one in found["ranges"]] == [
        ("0 to 50 %", 12, 0), ("50 to 90 %", 12, 12), ("90 to 100 %", 12, 12), ("out of domain", 12, 12),
    ]  # fmt: skip
    called = clips.scores["audio"][0] >= 0.6
    near, *_, outside = found["ranges"]
    assert near["false_alarms"] == pytest.approx(called[clips.tier == "RVRA"].mean())
    assert outside["misses"] == pytest.approx(1 - called[clips.tier == "RVFA-SVC"].mean())
    assert (near["misses"], near["auc"], outside["auc"]) == (None, None, None)
    assert found["curve"]["distance"] == sorted(found["curve"]["distance"])
    wrong = called != clips.label
    assert np.mean(found["curve"]["error"]) == pytest.approx(wrong.mean())
    assert domain.summarise(clips, made_up_domain(), "audio", None)["threshold"] == 0.5


def test_short_clips_have_a_limit_of_their_own():
    clips = with_distances(made_up_clips(("audio",)), np.full(48, 3.0))
    assert domain.summarise(clips, made_up_domain(), "audio", None)["outside"] == 0
    half = replace(clips, short=np.arange(48) % 2 == 0)
    assert domain.summarise(half, made_up_domain(), "audio", None)["outside"] == 0.5


def test_the_built_in_corpus_is_known_by_its_methods():
    def built_in(*methods):
        metas = [meta("r", "RVRA", method="real"), *(meta(m, "RVFA", method=m) for m in methods)]
        return domain.corpus_facts("data/x", metas)["built_in"]

    assert built_in("klatt", "world-vc")
    assert not built_in("klatt", "wav2lip")
    assert not built_in()


def test_audio_of_training_is_described(tmp_path):
    store = ElementStore(make_store(tmp_path) / "elements")
    found = domain.audio_facts(store, list(store.metas))
    assert found["bandwidth_hz"] == [8000, 8000, 8000], "white noise"
    low, middle, high = found["level_db"]
    assert -40 < low < middle < high < 0
