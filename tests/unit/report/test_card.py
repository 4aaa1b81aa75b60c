"""Model cards: what they say of each kind of run, figures from evaluations, and names from outside."""

import json
import re

import pytest

from avdfd.config import PretrainConfig, TrainConfig, parse
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS
from avdfd.report import card
from avdfd.report.card import write_card
from tests.helpers.scored import made_up_result


def best_of(kind="train", config=(), **facts):
    """Content of best.json of a run."""
    model = {"train": TrainConfig, "pretrain": PretrainConfig}[kind]
    data = {"elements": "data/x", "splits": "data/lists", "fake_tiers": ["RVFA", "FVRA", "FVFA"]}
    stated = {"name": "x", "data": data} | ({"audio": "runs/x-audio"} if kind == "train" else {})
    resolved = parse({**stated, **dict(config)}, model, "test").model_dump()
    known = {"config": resolved, "epoch": 3, "metric": "val_ap", "value": 0.75, "git": "abc", "sha256": "00" * 32}
    return {**known, **facts}


def text_of(best, reports=None):
    return card.card(best, reports or {})


def test_a_run_that_was_not_evaluated_has_no_figures():
    text = text_of(best_of())
    heads = re.findall("^#+ (.*)$", text, flags=re.M)
    assert heads == [
        *("Model card: x", "Model", "Data", "Figures", "Domain and limits", "Licences", "Intended use"),
    ]
    assert "weights of epoch 3, selected by val\\_ap 0.7500 on the validation elements" in text
    assert "trained on real clips (RVRA) and the fakes RVFA, FVRA, FVFA" in text
    assert "Not evaluated yet" in text
    assert "relation of audio and video was not tested" in text
    assert "stage 1, from runs/x-audio: see the card there" in text


def test_published_weights_were_not_trained_here():
    text = text_of(best_of(epoch=None))
    assert "weights that were not trained here" in text
    assert "published weights: trained by their authors, on data that they state" in text
    assert "RVFA" not in text


def test_figures_are_those_of_the_reports():
    report = made_up_result(fitted=True)
    text = text_of(best_of(), {"test": report})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    table = {row[0]: row[1:] for row in rows}
    for part, of in (("overall", report["overall"]), *report["tiers"].items()):
        fused = of["fused"]
        low, high = fused["auc_interval"]
        assert table[part][:3] == [
            str(of["clips"]),
            str(of["identities"]),
            f"{fused['auc']:.3f} [{low:.3f}, {high:.3f}]",
        ]
        assert table[part][4].startswith(f"{fused[FALSE_ALARMS]:.3f}")
    assert "test: fakes that it was not trained on: FVRA &lt;wav2lip&gt;" in text
    assert "test: Only 6 identities: intervals are too narrow" in text
    assert "identities: 4 in train, 2 in validation" in text


def test_without_validation_there_are_no_errors_at_a_threshold():
    line = next(line for line in text_of(best_of(), {"test": made_up_result()}).splitlines() if "| overall" in line)
    assert line.endswith("| – | – |")


def test_names_from_outside_are_text():
    """A name can be any that a config takes; none becomes HTML, a link, a heading, a row or a cell."""
    name = "x <img src=a> [b](javascript:c) `d` | e_f*"
    best = best_of()
    best["config"] |= {"name": name, "data": {"elements": "data/\n# no heading\x1b[31m", "splits": "a|b"}}
    text = text_of(best, {"t|<b>": made_up_result()})
    assert "<img" not in text
    assert "<b>" not in text
    assert "\\[b\\](javascript:c) \\`d\\` \\| e\\_f\\*" in text
    assert "\x1b" not in text
    assert "\n# no heading" not in text
    assert "t\\|&lt;b&gt;" in text


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ({"kind": "whisper", "arch": "tiny", "file": "w.bin"}, "whisper tiny, from w.bin: MIT"),
        ({"kind": "ssl", "arch": "mhubert-147", "file": "m.pt"}, "mhubert-147, from m.pt: CC BY-NC-SA 4.0"),
        ({"kind": "ssl", "arch": "hubert-base", "file": "h.pt"}, "hubert-base, from h.pt: MIT"),
    ],
)
def test_licences_of_audio_encoders(front, said):
    model = {"input": "waveform", "front": {**front, "sha256": "00" * 32}}
    text = text_of(best_of("pretrain", config={"model": model}))
    assert said in text
    assert text.count(f"from {front['file']}") == 1
    assert "is given audio alone: it cannot detect a fake video" in text


def test_licences_of_visual_encoders_and_baselines():
    visual = {"init": "marlin", "weights": "weights/marlin.pt"}
    assert "marlin, from weights/marlin.pt: CC BY-NC 4.0" in text_of(best_of(config={"visual": visual}))
    hubert = {"file": "h.pt", "encoder_layers": 24, "ffn_dim": 4096}
    config = {"kind": "avhalign", "name": "a", "seed": 0, "model": {"encoder": hubert, "head": None}}
    config |= {"data": best_of()["config"]["data"]}
    text = text_of({"config": config, "stage": "align", "epoch": None, "git": "abc"})
    assert "- baseline avhalign, stage align" in text
    assert "- weights that were not trained here" in text
    assert "av-hubert, from h.pt: the AV-HuBERT licence" in text
    config["model"] = {"weights": {"file": "syncnet.model"}}
    assert "model, from syncnet.model: not stated in the file" in text_of({"config": config, "git": "abc"})


def test_reports_of_other_weights_are_left_out(tmp_path):
    (tmp_path / "best.json").write_text(json.dumps(best_of()))
    others = made_up_result()
    for run in others["runs"]:
        run["checkpoint_sha256"] = "11" * 32
    for name, content in (("test", made_up_result()), ("former", others), ("sub/all", made_up_result()), ("bad", [])):
        (tmp_path / "eval" / name).mkdir(parents=True)
        (tmp_path / "eval" / name / "report.json").write_text(json.dumps(content))
    assert list(card.evaluations(tmp_path)) == ["sub/all", "test"]
    write_card(tmp_path)
    text = (tmp_path / "card.md").read_text()
    assert "**sub/all**, split test of data/x, fused score" in text
    assert "former" not in text


def test_a_folder_without_weights_has_no_card(tmp_path):
    write_card(tmp_path)
    assert not (tmp_path / "card.md").exists()
