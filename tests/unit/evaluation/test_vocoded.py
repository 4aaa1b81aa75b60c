"""False alarms on vocoded real clips, by hand and in an evaluation, of which they are no other part."""

import json

import numpy as np
import pytest

import tests.helpers.runs as helpers
from avdfd import report
from avdfd.config import PretrainConfig, parse
from avdfd.datasets.split_elements import training_elements, vocoded_elements
from avdfd.elements import ElementStore, coded
from avdfd.evaluation.evaluate import Request, evaluate
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS
from avdfd.evaluation.outside import judge
from avdfd.evaluation.score_file import ScoreFile
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.evaluation.vocoded import summarise
from avdfd.report import files


def clips(scores, methods, identities):
    facts = {"source": [f"{n}.wav" for n in range(len(methods))], "tier": ["RVRA-V"] * len(methods)}
    facts |= {"method": methods, "identities": identities}
    texts = {name: np.array(values, object) for name, values in facts.items()}
    count = len(methods)
    return ScoredClips(texts, np.zeros(count, np.int64), np.ones(count, int), np.zeros(count, bool), scores)


OVERALL = {"fused": {FALSE_ALARMS: 0.1, f"{FALSE_ALARMS}_interval": [0.0, 0.2]}, "other": {"auc": 0.5}}


def test_false_alarms_by_hand():
    """Two seeds with thresholds of their own; a score at the threshold is called fake."""
    scores = {"fused": np.array([[0.9, 0.5, 0.1, 0.7], [0.9, 0.2, 0.1, 0.1]]), "other": np.full((1, 4), 0.5)}
    methods = ["vocoded-world", "vocoded-world", "vocoded-opus", "other"]
    given = clips(scores, methods, ["a", "a", "b", "b"])
    fitted = {"fused": {"eer_threshold": [0.5, 0.8]}}
    found = summarise(given, OVERALL, fitted, replicates=50, seed=0)
    assert found["all"]["fused"][FALSE_ALARMS] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert found["methods"]["world"]["fused"][FALSE_ALARMS] == pytest.approx((1 + 1 / 2) / 2)
    assert found["methods"]["opus"]["fused"][FALSE_ALARMS] == 0
    low, high = found["all"]["fused"][f"{FALSE_ALARMS}_interval"]
    assert low <= found["all"]["fused"][FALSE_ALARMS] <= high
    assert found["all"]["fused"]["mean_score"] == pytest.approx(np.mean(scores["fused"]))
    assert FALSE_ALARMS not in found["all"]["other"], "without a threshold"
    assert found["real"] == {"fused": OVERALL["fused"], "other": {}}
    assert (found["all"]["clips"], found["all"]["identities"]) == (4, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "TIERS", (*helpers.TIERS, "RVRA-V"))
        return helpers.make_store(tmp_path_factory.mktemp("vocoded"))


def test_an_evaluation_reports_them_and_nothing_else_changes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})
    run = helpers.make_run(tmp_path, "train", store)
    for split in ("validation", "test"):
        done = evaluate(Request(str(run), split=split, bootstrap=20, device="cpu"))
        said = files.write(done)
    result = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert result["overall"]["clips"] == 12
    assert list(result["tiers"]) == ["RVFA", "FVRA", "RVFA-VC"]
    assert "RVRA-V" not in {*done.clips.tier}
    found = result["vocoded"]
    assert found["all"]["clips"] == 3
    assert found["real"]["fused"][FALSE_ALARMS] == result["overall"]["fused"][FALSE_ALARMS]
    assert "false alarms on vocoded real clips" in said

    kept = vocoded_elements(ElementStore(store / "elements"), store / "splits", "test")
    path = tmp_path / "theirs.csv"
    rows = [f"{meta.source},{0.9 if meta.tier == 'RVRA-V' else 0.5 + 0.1 * meta.label}" for meta in
            [*kept[::2], *[m for m in ElementStore(store / "elements").metas[::2] if m.tier != "RVRA-V"]]]  # fmt: skip
    path.write_text("\n".join(["file,score", *dict.fromkeys(rows)]) + "\n")
    for split in ("validation", "test"):
        request = Request(str(tmp_path / "x"), against=[str(run)], split=split, bootstrap=0)
        other = judge(request, ScoreFile(path))
        files.write(other)
    assert other.result["vocoded"]["all"]["score"][FALSE_ALARMS] == 1.0
    counts = other.result["left_out"]
    assert counts["vocoded"] == 3
    assert counts["named"] == sum(counts[name] for name in ("scored", "vocoded", "empty", "not_judged", "unknown"))


def test_training_is_free_of_them_unless_asked_for(store):
    values = {"name": "x", "data": helpers.data_section(store, "RVFA"), "model": helpers.AUDIO}
    elements = ElementStore(store / "elements")

    def tiers(**data):
        config = parse({**values, "data": {**values["data"], **data}}, PretrainConfig, "test")
        found = training_elements(config, elements)
        return [{of.values[code] for code in np.unique(of.codes)} for of in
                (coded(found.train, "tier"), coded(found.validation, "tier"))]  # fmt: skip

    assert tiers() == [{"RVRA", "RVFA"}, {"RVRA", "RVFA"}]
    assert tiers(vocoded=True) == [{"RVRA", "RVFA", "RVRA-V"}, {"RVRA", "RVFA"}]
