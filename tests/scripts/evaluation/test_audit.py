"""Leaks and shortcuts that evaluate.py finds."""

import evaluate
from avdfd.elements import ElementStore
from avdfd.evaluation.audit import audits, files
from tests.helpers.evaluation import report_of
from tests.helpers.runs import TIERS, make_store


def audited(run, *arguments):
    code = evaluate.main(["--run", str(run), "--bootstrap", "0", *arguments])
    return code, report_of(run)["audit"], (run / "eval" / "test" / "report.html").read_text()


def test_clean_elements_pass_the_audit(run):
    code, audit, html = audited(run, "--strict")
    assert code == 0
    assert audit["leaks"] == []
    assert audit["clips"] == {"test": 3 * len(TIERS), "train": 2 * len(TIERS), "validation": 2 * len(TIERS)}
    assert set(audit["probes"]["elements"]) == set(TIERS) - {"RVRA"}
    assert "None found." in html
    assert "Shortcuts in the data" not in html


def test_findings_of_the_audit_are_at_the_top_of_the_report(run, monkeypatch):
    probe = {"auc": 0.75, "by_chance": 0.7, "shortcut": True}
    found = {"probes": {"elements": {"RVFA": {"loudness": probe}}}, "clips": {"test": 3, "train": 2}}
    leak = {"kind": "sound", "what": "2 copies", "splits": ["test", "train"], "clips": ["a.mp4", "<b>.mp4"]}
    monkeypatch.setattr(audits, "of_elements", lambda *_, **__: {**found, "leaks": [leak]})
    code, _, html = audited(run, "--strict")
    assert code == evaluate.FOUND == 3
    assert "loudness on RVFA (0.750)" in html
    assert "Leaks between splits: audio in test and train." in html
    assert html.index("class=warning") < html.index("<table>")
    assert "&lt;b&gt;.mp4" in html
    assert audited(run, "--audit")[0] == 0  # a warning is no failure unless it is asked to be one


def test_probes_look_at_the_sources_of_all_splits(run, tmp_path, monkeypatch):
    root = tmp_path / "videos"
    for source in {m.source for m in ElementStore(make_store(tmp_path / "own") / "elements").metas}:
        (root / source).parent.mkdir(parents=True)
        (root / source).touch()
    seen = []

    def measure(path):
        seen.append(path)
        return {"loudness": 4.0 if "FakeAudio" in str(path) and "VoiceClone" not in str(path) else 1.0}

    monkeypatch.setattr(files, "measure", measure)
    _, audit, html = audited(run, "--probes", str(root))
    assert audit["probes"]["files"]["RVFA"]["loudness"]["shortcut"]
    assert audit["probes"]["files"]["RVFA-VC"]["loudness"]["auc"] == 0.5
    assert "loudness on RVFA (1.000)" in html
    assert len(seen) == 7 * len(TIERS)  # one per clip


def test_audit_of_another_store_compares_it_with_the_run_own(run, tmp_path):
    other = make_store(tmp_path / "other")
    _, audit, _ = audited(run, "--audit", "--elements", str(other / "elements"))
    assert audit["clips"] == {"test": 3 * len(TIERS), "train": 2 * len(TIERS), "validation": 2 * len(TIERS)}
