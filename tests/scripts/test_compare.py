"""compare.py on synthetic evaluations of several systems, and its error messages."""

import csv
import json
import re

import numpy as np
import pytest

import compare
from avdfd.core.errors import UserError
from avdfd.core.files import write_csv
from avdfd.evaluation.scored_clips import csv_rows
from avdfd.metrics import roc
from avdfd.report import comparison
from tests.helpers.scored import THREE, made_up_clips, made_up_result

TIERS = ["overall", "RVFA", "FVRA", "RVFA-SVC"]


def evaluated(root, name, seed=0, runs=1, **changes):
    """A run folder with the report and the scores of the same made-up clips, scored by a system of its own."""
    clips = made_up_clips(("fused",), seed=seed, runs=runs)
    folder = root / name / "eval" / ("test" if runs == 1 else f"test-{runs}-seeds")
    result = made_up_result(clips, **changes)
    folder.mkdir(parents=True)
    write_csv(folder / "scores.csv", csv_rows(clips))
    (folder / "report.json").write_text(json.dumps(result))
    return root / name


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [evaluated(root, "ours"), evaluated(root, "base_line & co", seed=1)]


@pytest.fixture(scope="module")
def made(systems, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    compare.main([*map(str, systems), "--out", str(out), "--bootstrap", "50"])
    return out


def aucs_of(run, seeds=1):
    """AUC of each part by hand, from scores.csv."""
    folder = run / "eval" / ("test" if seeds == 1 else f"test-{seeds}-seeds")
    with (folder / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    columns = ["fused"] if seeds == 1 else [f"fused[{seed}]" for seed in range(seeds)]
    found = {}
    for part in TIERS:
        chosen = [line for line in lines if part == "overall" or line["tier"] in ("RVRA", part)]
        labels = [int(line["label"]) for line in chosen]
        found[part] = np.mean([roc.auc(labels, [float(line[c]) for line in chosen]) for c in columns])
    return found


def test_use_of_the_relation_is_compared(systems, tmp_path, capsys):
    name = "related"
    auc = {"auc": 0.75, "auc_interval": [0.6, 0.9]}
    tested = {"clips": 2, "branches": {"fused": auc}}
    kinds = {kind: {"tiers": {"FVRA": {"fused": auc}}} for kind in ("own", "shuffled")}
    section = {"branch": "fused", "stranger": tested, "shifts": [{"ms": 400, "both": tested}], "replaced": kinds}
    section |= {"verdicts": {"fused": {"uses": True}}}
    related = evaluated(tmp_path, name, counterfactuals=section)
    compare.main([str(systems[0]), str(related), "--out", str(tmp_path / "out"), "--bootstrap", "0"])
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: [text.strip() for text in line[1:] if text.strip()] for line in lines}
    assert rows["real clips, a stranger's audio"] == ["not tested", "0.750 [0.600, 0.900]"]
    assert rows["real clips, audio moved by 200 ms"] == ["not tested", "–"]
    assert rows["uses the relation of audio and video"] == ["not tested", "yes"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["counterfactuals"]["ours"] is None
    html = (tmp_path / "out" / "compare.html").read_text()
    assert "Which system uses the relation of audio and video?" in html
    assert "FVRA, frames shuffled" in (tmp_path / "out" / "compare.md").read_text()


def test_branches_of_the_systems_are_shown(systems, tmp_path, capsys):
    three = tmp_path / "three"
    result = made_up_result(made_up_clips(THREE))
    evaluated(tmp_path, "three", **{key: result[key] for key in ("branches", "main", "overall", "tiers")})
    compare.main([str(systems[0]), str(three), "--out", str(tmp_path / "out"), "--bootstrap", "0"])
    found = json.loads((tmp_path / "out" / "compare.json").read_text())["branch_aucs"]
    assert (found["ours"], list(found["three"])) == ({}, [*THREE[:3]])
    auc = result["tiers"]["FVRA"]["consistency"]["auc"]
    assert found["three"]["consistency"]["FVRA"]["auc"] == auc
    assert re.search(rf"three: consistency .*{auc:.3f} \[", capsys.readouterr().out)
    assert "Which branch separates them?" in (tmp_path / "out" / "compare.html").read_text()


def test_findings_of_audits_are_at_the_top(systems, tmp_path):
    probe = {"auc": 0.75, "by_chance": 0.7, "shortcut": True}
    found = {"probes": {"elements": {"RVFA": {"loudness": probe}}}, "clips": {}, "leaks": []}
    audited = evaluated(tmp_path, "audited", seed=2, audit=found)
    compare.main([str(systems[0]), str(audited), "--out", str(tmp_path), "--bootstrap", "0"])
    html = (tmp_path / "compare.html").read_text()
    assert html.index("loudness on RVFA (0.750)") < html.index("<table>")


def test_equal_systems_are_all_the_best(systems, tmp_path):
    twin = evaluated(tmp_path, "twin")
    compare.main([str(systems[0]), str(twin), str(systems[1]), "--out", str(tmp_path), "--bootstrap", "0"])
    ours, same, other = (line for line in (tmp_path / "compare.md").read_text().splitlines()[2:5])
    assert ours.replace("ours", "twin") == same
    assert ours.count("**") + other.count("**") == 2 * len(TIERS)
    tex = (tmp_path / "compare.tex").read_text().split(r"\\")
    assert tex[1].count("textbf") == tex[2].count("textbf") > 0


def test_table_has_the_values_of_the_scores(systems, made):
    ours, theirs = map(aucs_of, systems)
    with (made / "compare.csv").open() as file:
        lines = {(line["system"], line["tier"]): line for line in csv.DictReader(file)}
    assert list(lines) == [(run.name, part) for run in systems for part in TIERS]
    for part in TIERS:
        assert float(lines["ours", part]["auc"]) == pytest.approx(ours[part], abs=1e-12)
        other = lines["base_line & co", part]
        assert float(other["auc"]) == pytest.approx(theirs[part], abs=1e-12)
        assert float(other["difference"]) == pytest.approx(ours[part] - theirs[part], abs=1e-12)
        assert float(other["difference_low"]) <= float(other["difference"]) <= float(other["difference_high"])
        assert lines["ours", part]["difference"] == ""
    table = (made / "compare.md").read_text()
    assert re.search(rf"^\| ours \| (\*\*)?{ours['overall']:.3f} \[", table, re.M)
    assert f"{ours['FVRA'] - theirs['FVRA']:+.3f} [" in table


def test_reference_can_be_chosen(systems, tmp_path, capsys):
    compare.main([*map(str, systems), "--out", str(tmp_path), "--reference", systems[1].name, "--bootstrap", "0"])
    result = json.loads((tmp_path / "compare.json").read_text())
    ours, theirs = map(aucs_of, systems)
    pair = result["paired"]["ours"]["overall"]
    assert pair["difference"] == pytest.approx(theirs["overall"] - ours["overall"])
    assert pair["interval"] is None
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["AUC", *TIERS]
    assert out[-1] == str(tmp_path / "compare.html")


def test_seeds_are_pooled(systems, tmp_path):
    seeds = evaluated(tmp_path, "s0", seed=2, runs=2)
    (tmp_path / "s1").mkdir()
    compare.main([f"{seeds},{tmp_path / 's1'}", str(systems[0]), "--out", str(tmp_path / "out"), "--bootstrap", "20"])
    result = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert result["overall"]["s0"]["auc"] == pytest.approx(aucs_of(seeds, 2)["overall"])
    assert result["overall"]["s0"]["auc_deviation"] > 0
    assert "2 seeds" in (tmp_path / "out" / "compare.html").read_text()


def test_clips_may_be_in_another_order(systems, tmp_path):
    shuffled = evaluated(tmp_path, "shuffled")
    path = shuffled / "eval" / "test" / "scores.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(lines)]) + "\n")
    compare.main([str(systems[0]), str(shuffled), "--out", str(tmp_path / "out"), "--bootstrap", "0"])
    paired = json.loads((tmp_path / "out" / "compare.json").read_text())["paired"]["shuffled"]
    assert all(pair["difference"] == 0 for pair in paired.values())


def test_latex_is_balanced_and_escaped(made):
    text = (made / "compare.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"base\_line \& co" in text
    assert not re.search(r"(?<!\\)[_#%$]", text)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for table in text.split("\n\n"):
        columns = len(re.search(r"tabular\}\{(l r*|lr*)\}", table)[1])
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {columns}
    assert text.count(r"\textbf") == len(TIERS)
    assert comparison.latex(r"a\b~^{}") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}\{\}"


# ---- what it refuses


def refused(tmp_path, *arguments):
    with pytest.raises(UserError) as caught:
        compare.main([*map(str, arguments), "--out", str(tmp_path / "refused")])
    assert not (tmp_path / "refused" / "compare.html").exists()
    return str(caught.value)


def test_refuses_a_run_that_is_missing_or_not_evaluated(systems, tmp_path):
    assert "no such run folder" in refused(tmp_path, systems[0], tmp_path / "none")
    (tmp_path / "trained").mkdir()
    said = refused(tmp_path, systems[0], tmp_path / "trained")
    assert said.endswith(f"run bash evaluate.sh --run {tmp_path / 'trained'} --split test")
    joined = f"{systems[0]},{tmp_path / 'trained'}"
    assert f"bash evaluate.sh --run {joined} --split test" in refused(tmp_path, joined)


def test_refuses_other_clips(systems, tmp_path):
    few = evaluated(tmp_path, "few")
    path = few / "eval" / "test" / "scores.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert "0 only in the former, 1 only in the latter, e.g. RVFA-SVC/id5/" in refused(tmp_path, systems[0], few)
    moved = evaluated(tmp_path, "moved")
    path = moved / "eval" / "test" / "scores.csv"
    path.write_text(path.read_text().replace(",id5,", ",id4,"))
    assert "the identity of FVRA/id5/" in refused(tmp_path, systems[0], moved)


def test_refuses_another_split_or_pooling(systems, tmp_path):
    other = evaluated(tmp_path, "other", split="validation")
    assert "holds the split 'validation'; pass --split validation" in refused(tmp_path, systems[0], other)
    by_max = evaluated(tmp_path, "max", pooling={"windows": "max", "domain": "probability"})
    assert "windows are pooled by max" in refused(tmp_path, systems[0], by_max)


def test_refuses_damaged_or_outdated_evaluations(systems, tmp_path):
    damaged = evaluated(tmp_path, "damaged")
    (damaged / "eval" / "test" / "scores.csv").write_text("clip\nx\n")
    assert "damaged, or written by another version" in refused(tmp_path, damaged)
    old = evaluated(tmp_path, "old")
    (old / "best.safetensors").write_bytes(b"trained again")
    assert "the weights have changed since the evaluation" in refused(tmp_path, old)


def test_refuses_equal_names_and_an_unknown_reference(systems, tmp_path):
    assert "two systems would be called 'ours'" in refused(tmp_path, systems[0], systems[0])
    assert "--reference none: not one of the systems: ours" in refused(tmp_path, systems[0], "--reference", "none")


def test_pages_over_draws(tmp_path, capsys):
    names = []
    for number, auc in enumerate((0.6, 0.8, 0.7)):
        page = {"clips": 4, "fakes": 2, "auc": auc, "eer": 0.3, "pair_accuracy": None}
        (tmp_path / f"d{number}-pages.json").write_text(json.dumps({"pages": {"a/b": page, "c": page}}))
        names.append(str(tmp_path / f"d{number}"))
    out = ["--pages", "--out", str(tmp_path / "out")]
    compare.main([",".join(names), names[1], *out])
    said = capsys.readouterr().out
    assert "0.700 [0.600, 0.800]  0.600, 0.800, 0.700" in said
    assert f"fewer than 3 draws of the codecs, which is no estimate of their effect: {names[1]}\n" in said
    assert json.loads((tmp_path / "out" / "pages.json").read_text())[names[1]]["draws"] == 1
    with pytest.raises(UserError, match="not for --pages"):
        compare.main([names[0], "--name", "x", *out])
