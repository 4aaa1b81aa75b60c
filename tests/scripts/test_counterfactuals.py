"""evaluate.py --counterfactuals on whole clips."""

import json

import baseline
import evaluate
from avdfd.evaluation.counterfactuals.case import SHIFTS
from tests.helpers.runs import SPLITS, TIERS, make_store, write_config

MRDF = {
    "model": {
        "clips": "whole", "encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 1, "max_steps": 40,
    },
    "train": {"lr": 1e-3, "epochs": 1, "batch_size": 8},
}  # fmt: skip


def outcome(run, capsys):
    """Test a run; return its section of the report, what was printed, and the names of the kept scores."""
    capsys.readouterr()
    request = ["--run", str(run), "--counterfactuals", "--bootstrap", "20", "--device", "cpu", "--workers", "0"]
    assert evaluate.main(request) == 0
    report = run / "eval" / "test"
    section = json.loads((report / "report.json").read_text())["counterfactuals"]
    assert "Does it use the relation of audio and video?" in (report / "report.html").read_text()
    return section, capsys.readouterr().out, [path.stem for path in (report / "counterfactuals").rglob("*.json")]


def test_whole_clips_are_cut_alike_on_both_sides(tmp_path, capsys):
    store = make_store(tmp_path, whole=(30, 80, 78, 77, 90))
    baseline.main(write_config(tmp_path, store, "mrdf", "whole", ["RVFA", "FVRA"], MRDF))
    section, text, kept = outcome(tmp_path / "runs" / "whole", capsys)
    clips = len(SPLITS["test"]) * len(TIERS)
    assert (section["whole"], section["clips"], section["real_clips"]) == (True, clips, len(SPLITS["test"]))
    assert 0 < section["cut_clips"] < clips
    assert "shorter than 3.04 s, take no part" in text
    assert [of["ms"] for of in section["shifts"]] == [*SHIFTS]
    assert section["left_out"] == {}
    assert {"stranger+0", "stranger+0-own", "shift-400", "shift-400-own", "cut+0"} <= {*kept}
    own = section["replaced"]["own"]["overall"]
    for branch in ("audio", "visual"):  # of one stream each
        assert section["stranger"]["branches"][branch]["auc"] == 0.5
        assert {of["both"]["branches"][branch]["auc"] for of in section["shifts"] if of["ms"] % 40 == 0} == {0.5}
    assert section["replaced"]["fixed_audio"]["overall"]["audio"]["auc"] == 0.5
    assert section["replaced"]["fixed_video"]["overall"]["visual"]["auc"] == 0.5
    assert section["replaced"]["shuffled"]["overall"]["audio"] == own["audio"]
    assert section["replaced"]["reversed"]["overall"]["visual"] == own["visual"]
    assert "The fused branch uses the relation of audio and video: not shown (" in text
