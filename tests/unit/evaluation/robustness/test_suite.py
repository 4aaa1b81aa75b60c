"""Choice of perturbed clips, resumption of an interrupted suite, and its metrics."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.elements import ElementStore
from avdfd.evaluation.robustness import suite
from avdfd.evaluation.robustness.store import PerturbedStore
from avdfd.inference.scoring import Scores
from avdfd.metrics import roc
from avdfd.report import robustness as page
from tests.helpers.runs import TIERS


@pytest.fixture(scope="module")
def store(small_store):
    return ElementStore(small_store / "elements")


def fake_run(folder, branches=("audio", "visual", "fused"), weights=b"weights"):
    folder.mkdir(exist_ok=True)
    (folder / BEST).write_bytes(weights)
    return SimpleNamespace(folder=folder, branches=branches, sha256=sha256_of(folder / BEST))


class Scorer:
    """Scores that separate fakes from real clips unless audio is late; remembers its calls."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def __call__(self, run, store, metas):
        name, level = (store.name, store.level) if isinstance(store, PerturbedStore) else (None, None)
        if (name, level) == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append((run.folder.name, name, level))
        rng = np.random.default_rng(0)
        labels = np.array([meta.label for meta in metas])
        late = level / 400 if name == "sound_late" else 0.0
        scores = 0.2 + 0.4 * np.maximum(labels, late) + 0.2 * rng.random(len(labels))
        return Scores([meta.key for meta in metas], dict.fromkeys(run.branches, scores))


def test_suite(store, tmp_path):
    systems = {"ours": [fake_run(tmp_path / "ours")], "other": [fake_run(tmp_path / "other", ("fused",))]}
    metas = store.metas
    scored = suite.score_suite(["noise", "sound_late"], systems, store, metas, tmp_path / "kept", Scorer())
    assert len(scored) == 11
    result = suite.summarise(["noise", "sound_late"], scored, "mean", replicates=50, seed=0)
    assert list(result["perturbations"]) == ["noise", "sound_late"]
    late = result["perturbations"]["sound_late"]
    assert late["levels"] == [40, 80, 160, 240, 400]
    assert [list(step) for step in late["severities"]] == [["audio", "visual", "fused", "other"]] * 5
    steps = [step["fused"] for step in late["severities"]]
    assert [step["reals"] for step in steps] == sorted(step["reals"] for step in steps)
    assert steps[-1]["reals"] == 1.0  # late reals are taken for fakes,
    assert steps[-1]["auc"] == pytest.approx(0.5, abs=0.2)  # and fakes are not told from them any more
    assert result["clean"]["fused"]["auc"] == 1.0
    assert result["clean"]["fused"]["reals"] == 0.5
    low, high = steps[1]["auc_interval"]
    assert low <= steps[1]["auc"] <= high
    assert set(steps[0]["tiers"]) == set(TIERS) - {"RVRA"}
    assert (result["clips"], result["windows"]) == (28, 56)
    assert late["windows"] == 28  # the second window of each clip: there is no audio before the first one
    assert "windows" not in result["perturbations"]["noise"]
    assert result["left_out"] == {}


def test_figures_are_those_of_the_clips(store, tmp_path):
    metas = store.metas
    systems = {"ours": [fake_run(tmp_path / "ours")]}
    scored = suite.score_suite(["noise"], systems, store, metas, tmp_path, Scorer())
    scores = Scorer()(systems["ours"][0], store, metas).branch["fused"]
    means = {}
    for meta, value in zip(metas, scores, strict=True):
        means.setdefault((meta.source, meta.label), []).append(value)
    labels, values = [label for _, label in means], [float(np.mean(v)) for v in means.values()]
    assert len(set(values)) == len(values)
    result = suite.summarise(["noise"], scored, "mean", replicates=0, seed=0)
    assert result["clean"]["fused"]["auc"] == roc.auc(labels, values)
    assert result["clean"]["fused"]["auc_interval"] is None


def test_rounding_errors_separate_no_clips(store):
    metas = store.metas
    labels = np.array([meta.label for meta in metas])
    equal, apart = {"audio": np.array([0.3 + 1e-8 * labels])}, {"audio": np.array([0.1 + 0.8 * labels])}
    scored = {suite.Case("noise", severity): suite.Scored(metas, equal) for severity in range(1, 6)}
    scored[suite.Case()] = suite.Scored(metas, apart)
    result = suite.summarise(["noise"], scored, "mean", replicates=0, seed=0)
    assert result["perturbations"]["noise"]["severities"][4]["audio"]["auc"] == 0.5
    assert result["clean"]["audio"]["auc"] == 1.0


def test_interrupted_suite_resumes_from_kept_scores(store, tmp_path):
    systems, folder, metas = {"ours": [fake_run(tmp_path / "ours")]}, tmp_path / "kept", store.metas
    broken = Scorer(fail_at=("noise", 10))
    with pytest.raises(KeyboardInterrupt):
        suite.score_suite(["noise"], systems, store, metas, folder, broken)
    assert len(broken.asked) == 3
    second = Scorer()
    scored = suite.score_suite(["noise"], systems, store, metas, folder, second)
    assert [level for _, _, level in second.asked] == [10, 5, 0]
    np.testing.assert_array_equal(
        scored[suite.Case("noise", 1)].columns["fused"], [Scorer()(systems["ours"][0], store, metas).branch["fused"]]
    )
    # Other weights, or other elements, and everything is scored again.
    systems = {"ours": [fake_run(tmp_path / "ours", weights=b"others")]}
    for changed in (metas, metas[:30]):
        again = Scorer()
        suite.score_suite(["noise"], systems, store, changed, folder, again)
        assert len(again.asked) == 6


def test_seeds_of_a_system_are_scored_each_and_averaged(store, tmp_path):
    systems = {"s0": [fake_run(tmp_path / name) for name in ("s0", "s1")]}
    scorer = Scorer()
    scored = suite.score_suite(["noise"], systems, store, store.metas, tmp_path / "kept", scorer)
    assert scored[suite.Case()].columns["fused"].shape == (2, len(store.metas))
    assert {name for name, _, _ in scorer.asked} == {"s0", "s1"}
    assert suite.summarise(["noise"], scored, "max", replicates=20, seed=0)["clean"]["fused"]["auc"] == 1.0


def test_moved_audio_without_neighbouring_windows_is_left_out(store, tmp_path):
    metas = [meta for meta in store.metas if meta.start == 0]
    systems = {"ours": [fake_run(tmp_path / "ours")]}
    scored = suite.score_suite(["noise", "sound_late"], systems, store, metas, tmp_path / "kept", Scorer())
    result = suite.summarise(["noise", "sound_late"], scored, "mean", replicates=0, seed=0)
    assert list(result["perturbations"]) == ["noise"]
    assert result["left_out"] == {"sound_late": suite.NOT_JOINED}
    assert page.left_out(result) == [f"Left out: sound_late, {suite.NOT_JOINED}."]
    assert page.left_out({"perturbations": {}}) == []  # reports that were written before


def test_a_folder_of_vfd_is_refused(tmp_path):
    with pytest.raises(UserError, match="--robustness needs audio and video"):
        suite.score_suite(["noise"], {}, SimpleNamespace(root="x"), [], tmp_path, Scorer())


def test_page(store, tmp_path):
    systems, branches = {"ours": [fake_run(tmp_path / "ours")]}, ["audio", "visual", "fused"]
    scored = suite.score_suite(["sound_late"], systems, store, store.metas, tmp_path / "kept", Scorer())
    section = json.loads(json.dumps(suite.summarise(["sound_late"], scored, "mean", replicates=20, seed=0)))
    rows = page.robustness_rows(section, branches)
    assert len({len(row) for row in rows}) == 1
    assert rows[2][:2] == ["sound_late", "400 ms"]
    assert rows[2][-1] == "1.000"
    html = page.robustness_html(section, branches)
    assert "Late audio: 28 windows, which have the audio beyond them." in html
    assert html.count("<figure>") == 1
    assert "Late audio, 240 ms" in html
    assert html.count("<tr>") == 6
    points = page._points(section, branches)
    assert len(points) == 1 + 6 * 3  # clips as they are, and five levels, of three branches
    assert points[-1][:5] == [
        "sound_late",
        400,
        "ms",
        "fused",
        section["perturbations"]["sound_late"]["severities"][-1]["fused"]["auc"],
    ]
    assert "download='robustness.csv'" in html
