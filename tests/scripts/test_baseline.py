"""baseline.py end to end on a synthetic store: every system and stage, written files, resuming, wrong requests."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import baseline
import evaluate
from avdfd.baselines import mrdf
from avdfd.config import MrdfConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.elements.layout import STORE
from avdfd.inference.domain import features_of
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score, score_windows
from avdfd.training import checkpoint, weights
from OpenAVFF.finetuning import finetune_weights
from OpenAVFF.visual_encoder import VisualEncoder
from tests.helpers.runs import SPLITS, epochs, make_run, make_store, write_config
from tests.helpers.vfd import SMALL as SMALL_VFD
from tests.helpers.vfd import make_dfdc

RECIPE = {"lr": 1e-3, "epochs": 2, "batch_size": 4}
SYSTEMS = {
    "avff": {
        "model": {
            "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
            "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
        },
        "pretrain": {**RECIPE, "schedule": "halving", "halve_from": 1},
        "finetune": {**RECIPE, "new_lr_scale": 50.0, "clip_norm": 1.0},
    },
    "mrdf": {
        "model": {"encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 1, "max_steps": 8},
        "train": {**RECIPE, "betas": [0.5, 0.9], "schedule": "plateau", "batch_size": 8},
    },
    "vfd": SMALL_VFD,
}  # fmt: skip
LAST = {"avff": "finetune", "mrdf": "train", "vfd": "finetune"}


@pytest.fixture
def config(store, tmp_path):
    """Write the config of a system, with changes; return the arguments that name it."""

    def config(kind, **changes):
        return write_config(tmp_path, store, kind, kind, ["RVFA", "FVRA"], SYSTEMS[kind] | changes)

    return config


@pytest.fixture(scope="module")
def kept(small_store, tmp_path_factory):
    """Train a system on its config of SYSTEMS when it is first asked for; return the folder of its runs."""
    root = tmp_path_factory.mktemp("kept")

    def kept(kind):
        folder = root / kind
        if not folder.exists():
            folder.mkdir()
            baseline.main(write_config(folder, small_store, kind, kind, ["RVFA", "FVRA"], SYSTEMS[kind]))
        return folder / "runs"

    return kept


@pytest.fixture
def trained(kept, tmp_path):
    """Copy the runs of a system, all its stages, to `runs`; return the run of its last stage."""

    def trained(kind):
        shutil.copytree(kept(kind), tmp_path / "runs", dirs_exist_ok=True)
        return tmp_path / "runs" / kind

    return trained


def message(arguments, script=baseline):
    with pytest.raises(UserError) as error:
        script.main(arguments)
    return str(error.value)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_all_stages_and_scores(kind, trained, store, tmp_path):
    trained(kind)
    runs = tmp_path / "runs"
    stages = {"avff": ["avff-pretrain"], "mrdf": [], "vfd": ["vfd-match"]}[kind]
    assert {p.name for p in runs.iterdir()} == {kind, *stages}
    for name in (kind, *stages):
        lines = epochs(runs / name)
        assert [line["epoch"] for line in lines] == [1, 2]
        assert all(np.isfinite(line["loss"]) and np.isfinite(line["val_loss"]) for line in lines)
        assert ("val_auc" in lines[0]) == (name == kind), "only a stage trained on fakes has an AUC"
    run = load_run(runs / kind, "cpu")
    elements = ElementStore(store / "elements")
    metas = split_metas(run.config, elements, "test")
    scores = score(run, ElementSet(elements, metas, run.inputs), batch_size=5)
    assert tuple(scores.branch) == run.branches
    assert run.branches[-1] == "fused"
    assert all(((p >= 0) & (p <= 1)).all() and len(p) == len(metas) for p in scores.branch.values())


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_score_does_not_depend_on_the_batch(kind, trained, store):
    run = load_run(trained(kind), "cpu")
    elements = ElementStore(store / "elements")
    metas = split_metas(run.config, elements, "test")
    together = score(run, ElementSet(elements, metas, run.inputs), batch_size=7).branch["fused"]
    alone = score(run, ElementSet(elements, metas, run.inputs), batch_size=1).branch["fused"]
    turned = score(run, ElementSet(elements, metas[::-1], run.inputs), batch_size=5).branch["fused"]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(turned[::-1], together, rtol=1e-4, atol=1e-6)
    # detect.py passes windows in memory, with all their frames.
    windows = [elements.read(meta.key, waveform=True, frames=range(77)) for meta in metas[:3]]
    unlabelled = [replace(window, meta=None) for window in windows]
    np.testing.assert_allclose(score_windows(run, unlabelled).branch["fused"], together[:3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_clips_are_compared_with_the_training_data(kind, trained, store):
    folder = trained(kind)
    run = load_run(folder, "cpu")
    elements = ElementStore(store / "elements")
    part = ElementSet(elements, split_metas(run.config, elements, "test")[:5], run.inputs)
    alone, together = (features_of(run, part, batch_size=size) for size in (1, 5))
    assert set(alone) == {"audio", "visual"}
    for branch, values in alone.items():
        np.testing.assert_allclose(values, together[branch], rtol=1e-3, atol=1e-5)
        assert (np.ptp(values, axis=0) > 0).mean() > 0.5
    for split in ("validation", "test"):
        evaluate.main(["--run", str(folder), "--split", split, "--bootstrap", "0", "--device", "cpu"])
        domain = json.loads((folder / f"eval/{split}/report.json").read_text())["domain"]
        assert (domain["branches"], domain["validation_clips"]) == (["audio", "visual"], 8)
        assert domain["facts"]["corpus"]["clips"] == 6
        assert 0 <= domain["outside"] <= 1


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("whole"), whole=(26, 40, 31))


@pytest.fixture
def whole_config(whole_store, tmp_path):
    """Write the config of an MRDF that takes whole clips, with changes; return the arguments that name it."""

    def whole_config(name="whole", store=None, kind="mrdf", **changes):
        values = {**SYSTEMS[kind], "name": name}
        if kind == "mrdf":
            values["model"] = {**values["model"], "clips": "whole", **changes.pop("model", {})}
            values["train"] = {**values["train"], "epochs": 1}
        return write_config(tmp_path, store or whole_store, kind, name, ["RVFA", "FVRA"], values | changes)

    return whole_config


@pytest.mark.parametrize("faithful", [False, True])
def test_mrdf_takes_whole_clips(faithful, whole_config, whole_store, tmp_path, capsys):
    """Clips of 26, 31 and 40 frames: trained on with padding, or as released cut to the shortest of a batch."""
    baseline.main(whole_config(faithful=faithful, model={"encoder_layers": 0 if faithful else 1}))
    run = load_run(tmp_path / "runs" / "whole", "cpu")
    assert run.media.whole
    elements = ElementStore(whole_store / "elements", whole=True)
    metas = split_metas(run.config, elements, "test")
    assert len({meta.end for meta in metas}) == 3
    batches = {size: score(run, ElementSet(elements, metas, run.inputs), batch_size=size) for size in (1, 2, 9)}
    for branch in run.branches:
        for scores in batches.values():
            np.testing.assert_allclose(scores.branch[branch], batches[1].branch[branch], rtol=0, atol=1e-5)
    cut = run.inputs._replace(max_steps=26)
    assert abs(score(run, ElementSet(elements, metas, cut)).branch["fused"] - batches[9].branch["fused"]).max() > 1e-6
    evaluate.main(["--run", str(tmp_path / "runs" / "whole"), "--bootstrap", "0", "--workers", "0", "--device", "cpu"])
    rows = list(csv.DictReader((tmp_path / "runs/whole/eval/test/scores.csv").read_text().splitlines()))
    assert [row["windows"] for row in rows] == ["1"] * len(rows)
    # detect.py has clips in memory.
    clips = [elements.read(meta.key, waveform=True, mel=False, frames=range(500)) for meta in metas[:3]]
    np.testing.assert_allclose(
        score_windows(run, clips).branch["fused"], batches[1].branch["fused"][:3], rtol=0, atol=1e-5
    )


def test_elements_of_the_other_kind_are_refused(whole_config, trained, whole_store, store):
    windows = "has whole clips, but windows of 3.072 s are needed; make a store with media.whole set to false"
    for kind in ("avff", "vfd"):
        assert windows in message(whole_config(kind=kind))
    assert windows in message([*whole_config(), "--model.clips=window"])
    clips = "has windows of 3.072 s, but whole clips are needed; make a store with media.whole set to true"
    assert clips in message(whole_config(store=store))
    run = trained("mrdf")
    assert windows in message(["--run", str(run), "--elements", str(whole_store / "elements")], evaluate)
    assert "whole clips differ in length and stay on disk" in message([*whole_config(), "--data.home=memory"])


@pytest.mark.parametrize(("kind", "year"), [("vfd", 2023), ("mrdf", None)])
def test_other_variants(kind, year, config, tmp_path):
    if kind == "vfd":
        model = {"year": year, "image_size": 32, "dim": 16, "depth": 1, "heads": 2, "out_dim": 8}
        baseline.main(config(kind, model=model, loss={"negatives": 3}))
        assert load_run(tmp_path / "runs" / kind, "cpu").branches == ("fused",)
        return
    for variant in ("margin", "plain", "ensemble", "multilabel", "multiclass"):
        model = {**SYSTEMS["mrdf"]["model"], "variant": variant}
        baseline.main(config(kind, model=model, name=variant, train={**RECIPE, "epochs": 1}))
        assert load_run(tmp_path / "runs" / variant, "cpu").branches[-1] == "fused"


def test_avff_on_the_published_filter_bank_and_as_released(config, tmp_path):
    model = {**SYSTEMS["avff"]["model"], "audio_input": "fbank"}
    baseline.main(config("avff", model=model, faithful=True, loss={"adversarial": 0.0}))
    pretrained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    assert not any(key.startswith("critics") for key in pretrained)
    assert load_run(tmp_path / "runs" / "avff", "cpu").inputs.reads.waveform


def test_fine_tuning_starts_from_the_best_pre_training_epoch(config, tmp_path):
    baseline.main([*config("avff"), "--stage", "pretrain"])
    baseline.main([*config("avff", finetune={**RECIPE, "lr": 1e-12, "epochs": 1}), "--stage", "finetune"])
    former = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    tuned = weights.load(tmp_path / "runs" / "avff" / BEST, "avff").model
    for key, value in finetune_weights(former).items():
        torch.testing.assert_close(tuned[key], value, rtol=0, atol=1e-6)


def test_pre_training_starts_from_marlins_weights(config, tmp_path):
    encoder = VisualEncoder(image_size=32, dim=16, depth=1, heads=2, qkv_bias=True)
    path = tmp_path / "marlin.pt"
    torch.save({f"encoder.{k}": v for k, v in encoder.state_dict().items()} | {"decoder.x": torch.zeros(1)}, path)
    model = {**SYSTEMS["avff"]["model"], "marlin": {"file": str(path), "sha256": sha256_of(path)}}
    slow = {**RECIPE, "lr": 1e-12, "epochs": 1}
    baseline.main([*config("avff", model=model, pretrain=slow), "--stage", "pretrain"])
    trained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(trained[f"model.visual_encoder.{key}"], value, rtol=0, atol=1e-6)
    model["marlin"]["sha256"] = "00"
    assert "the config expects 00" in message(config("avff", model=model, name="x"))


def test_fine_tuning_from_a_published_file(config, tmp_path):
    baseline.main([*config("avff", faithful=True, loss={"adversarial": 0.0}), "--stage", "pretrain"])
    trained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    path = tmp_path / "published.pth"
    torch.save({f"module.{key}": value for key, value in trained.items()}, path)
    shutil.rmtree(tmp_path / "runs")
    model = {**SYSTEMS["avff"]["model"], "openavff": {"file": str(path)}}
    baseline.main(config("avff", model=model, finetune={**RECIPE, "lr": 1e-12, "epochs": 1}))
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["avff"], "there is nothing to pre-train"
    tuned = weights.load(tmp_path / "runs" / "avff" / BEST, "avff").model
    torch.testing.assert_close(tuned["visual_encoder.norm.weight"], trained["visual_encoder.norm.weight"])
    torch.save({"other": torch.zeros(1)}, path)
    assert "published.pth: pre-trained weights do not fit" in message(config("avff", model=model, name="x"))


def swapped_splits(folder):
    """Write split lists whose training identities are the test identities of the others."""
    folder.mkdir()
    for ours, theirs in (("train", "test"), ("validation", "validation"), ("test", "train")):
        (folder / f"{theirs}.txt").write_text("\n".join(SPLITS[ours]))
    return folder


def test_the_three_steps_of_openavff_each_by_one_command(config, store, tmp_path):
    still = {"pretrain": {**RECIPE, "lr": 1e-12, "epochs": 1}, "finetune": {**RECIPE, "lr": 1e-12, "epochs": 1}}
    arguments = config("avff", **still)
    lists = f"--data.splits={swapped_splits(tmp_path / 'swapped')}"
    shutil.copytree(store / "elements", tmp_path / "elements")
    about = json.loads((tmp_path / "elements" / STORE).read_text())
    (tmp_path / "elements" / STORE).write_text(json.dumps({**about, "settings": {"media.face": None}}))
    elements = f"--data.elements={tmp_path / 'elements'}"
    baseline.main([*arguments, "--stage", "pretrain", "--name=videos", lists, elements])
    runs = tmp_path / "runs"
    media = weights.facts_of(runs / "videos-pretrain" / BEST, "avff").media
    assert media.face is None, "whole frames, which detect.py has to take too"
    baseline.main([*arguments, "--stage", "pretrain", "--name=faces", f"--model.openavff={runs / 'videos-pretrain'}"])
    baseline.main([*arguments, "--stage", "finetune", "--name=tuned", f"--model.openavff={runs / 'faces-pretrain'}"])
    one, two, three = (
        weights.load(runs / name / BEST, "avff").model for name in ("videos-pretrain", "faces-pretrain", "tuned")
    )
    assert all(torch.allclose(two[key], one[key], atol=1e-6) for key in one)
    assert all(torch.allclose(three[key], value, atol=1e-6) for key, value in finetune_weights(one).items())
    # The first step was given the identities that are tested.
    assert "run 'videos-pretrain': identity 'id5' of the test elements is in its train list" in message(
        ["--run", str(runs / "tuned")], evaluate
    )
    missing = message([*arguments, "--stage", "pretrain", "--name=x", "--model.openavff=stage-1.pth"])
    assert missing.startswith("stage-1.pth: no such checkpoint")
    assert not (runs / "x-pretrain").exists()


@pytest.mark.parametrize("kind", SYSTEMS)
def test_an_interrupted_run_resumes_to_the_same_result(kind, trained, config, tmp_path, monkeypatch):
    trained(kind)
    save_last = checkpoint.save_last

    def interrupted(*arguments, **names):
        save_last(*arguments, **names)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_last", interrupted)
    cuts = 0
    while cuts < 10:
        try:
            baseline.main([*config(kind, name="cut"), "--resume"])
        except KeyboardInterrupt:
            cuts += 1
        else:
            break
    assert cuts == 2 * len(baseline.SYSTEMS[kind].STAGES), "after every epoch"
    assert epochs(tmp_path / "runs" / "cut") == epochs(tmp_path / "runs" / kind)
    one, cut = (load_run(tmp_path / "runs" / name, "cpu").model.state_dict() for name in (kind, "cut"))
    assert all(torch.equal(one[key], cut[key]) for key in one)


def test_loader_processes_change_nothing(trained, config, store, tmp_path):
    assert weights.load(trained("mrdf") / BEST, "mrdf").facts.config.data.workers == 0
    data = {"elements": str(store / "elements"), "splits": str(store / "splits"), "fake_tiers": ["RVFA", "FVRA"]}
    baseline.main(config("mrdf", name="w2", data={**data, "workers": 2}))
    assert epochs(tmp_path / "runs" / "mrdf") == epochs(tmp_path / "runs" / "w2")


def test_a_run_of_a_published_checkpoint(config, store, tmp_path):
    """A run trained as released, saved in its authors' format and adopted gives the same scores."""
    for kind, changes in (
        ("avff", {"loss": {"adversarial": 0.0}}),
        ("mrdf", {"model": {**SYSTEMS["mrdf"]["model"], "encoder_layers": 0}}),
    ):
        baseline.main(config(kind, faithful=True, **changes))
        trained = weights.load(tmp_path / "runs" / kind / BEST, kind).model
        path = tmp_path / f"{kind}.ckpt"
        torch.save({"state_dict": trained, "epoch": 1}, path)
        baseline.main([*config(kind, faithful=True, name=f"{kind}-published", **changes), "--published", str(path)])
        one, two = (load_run(tmp_path / "runs" / name, "cpu") for name in (kind, f"{kind}-published"))
        elements = ElementStore(store / "elements")
        metas = split_metas(one.config, elements, "test")
        scores = [score(run, ElementSet(elements, metas, run.inputs)).branch["fused"] for run in (one, two)]
        np.testing.assert_array_equal(*scores)
        corrected = [*config(kind, name="x"), "--published", str(path)]
        assert f"{kind}.ckpt: not a checkpoint of this model" in message(corrected), "it computes something else"
    assert "two networks without a threshold" in message([*config("vfd"), "--published", "x.pth"])
    assert not (tmp_path / "runs" / "x").exists()


def test_a_published_checkpoint_on_its_authors_fold(whole_config, tmp_path, capsys):
    """MRDF's own test command: a checkpoint and the list of its fold."""
    arguments = whole_config("mrdf", faithful=True, model={"encoder_layers": 0})
    cfg = load(arguments[1], MrdfConfig)
    torch.save({"state_dict": mrdf.rebuild(cfg, "train").state_dict()}, tmp_path / "MRDF_CE_train_2.ckpt")
    arguments += ["--published", str(tmp_path / "MRDF_CE_train_2.ckpt"), "--fold-file", str(tmp_path / "train_2.txt")]
    (tmp_path / "train_2.txt").write_text("source\nid1\nid2\nid3\nid4\nid5\n")
    folders = {"A": "RealVideo-RealAudio", "B": "RealVideo-FakeAudio", "C": "FakeVideo-RealAudio"}
    lines = ["source,category,type,race,gender,path"]
    lines += [f"id{i},{c},{folder},Asian,men,00000.mp4" for c, folder in folders.items() for i in range(1, 8)]
    (tmp_path / "meta_data.csv").write_text("\n".join(lines))
    baseline.main(arguments)
    out = capsys.readouterr().out
    assert "train_2.txt: 0 of 6 test clips show an identity that the checkpoint was trained on" in out
    run = tmp_path / "runs" / "mrdf-train_2"
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["overall"]["clips"], report["overall"]["fake_clips"]) == (6, 4)
    assert report["protocol"]["shared_identities"] == [0, 6]
    assert report["protocol"]["trained_tiers"] == []
    page = (run / "eval/test/report.html").read_text()
    assert "published weights: trained by their authors" in page
    assert "As published: 0 of 6 clips show" in page
    rows = list(csv.DictReader((run / "eval/test/scores.csv").read_text().splitlines()))
    assert {row["clip"].split("/")[3] for row in rows} == {"id6", "id7"}
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--device", "cpu"])  # like any other run, later
    (tmp_path / "meta_data.csv").write_text("\n".join([*lines, "id8,A,RealVideo-RealAudio,Asian,men,00000.mp4"]))
    assert "1 of its 7 test clips have no elements" in message([*arguments, "--name=x"])
    assert not (tmp_path / "runs" / "x-train_2").exists()
    assert "name it with --published" in message([*arguments[:2], "--fold-file", "train_2.txt"])


def test_other_systems_refuse_a_vfd_folder(trained, tmp_path):
    folder = make_dfdc(tmp_path / "dfdc", ["r1"], ["f1"])
    arguments = ["--run", str(trained("mrdf")), "--elements", str(folder), "--split", "all"]
    assert "a VFD folder has one image and a voice feature per clip, but mrdf needs" in message(arguments, evaluate)


def test_our_run_and_baselines_on_the_same_clips(trained, store, tmp_path, capsys):
    for kind in SYSTEMS:
        trained(kind)
    runs = tmp_path / "runs"
    ours = make_run(runs, "train", store)
    others = [str(runs / kind) for kind in SYSTEMS]
    capsys.readouterr()
    evaluate.main(["--run", str(ours), "--against", *others, "--bootstrap", "20", "--device", "cpu"])
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[3:] == ["audio", "visual", "fused", "avff", "mrdf", "vfd"]
    report = json.loads((ours / "eval/test/report.json").read_text())
    assert report["main"] == "fused"
    assert {name: about["kind"] for name, about in report["against"].items()} == {k: k for k in SYSTEMS}
    assert all(section["avff"]["auc"] >= 0 for section in report["tiers"].values())
    html = (ours / "eval/test/report.html").read_text()
    assert all(f"against {kind}" in html for kind in SYSTEMS)
    # A baseline evaluated alone gets the same figures.
    evaluate.main(["--run", str(runs / "avff"), "--bootstrap", "20", "--device", "cpu"])
    alone = json.loads((runs / "avff/eval/test/report.json").read_text())
    assert alone["overall"]["fused"]["auc"] == report["overall"]["avff"]["auc"]


def test_incomparable_runs_are_refused(config, store, tmp_path):
    runs = tmp_path / "runs"
    ours = str(make_run(runs, "train", store))
    again = message(["--run", ours, "--against", ours], evaluate)
    assert "two columns of the table would be called 'train'" in again
    # A baseline that was trained on test identities.
    swapped = swapped_splits(tmp_path / "swapped")
    data = {"elements": str(store / "elements"), "splits": str(swapped), "fake_tiers": ["RVFA"], "workers": 0}
    baseline.main(config("mrdf", name="leaky", data=data))
    assert "identity 'id5' of the test elements is in its train list" in message(
        ["--run", ours, "--against", str(runs / "leaky")], evaluate
    )


def test_folds_from_lists_to_summary(store, tmp_path, config, capsys):
    folder = tmp_path / "folds"
    folder.mkdir()
    metas = ElementStore(store / "elements").metas
    for number, (tested, held) in enumerate((("id1", "id2"), ("id3", "id4")), start=1):
        lines = ["split,identity,source"]
        for source, identity in sorted({(meta.source, meta.identities[0]) for meta in metas}):
            split = "test" if identity == tested else "validation" if identity == held else "train"
            lines.append(f"{split},{identity},{source}")
        (folder / f"fold_{number}.csv").write_text("\n".join(lines) + "\n")
    baseline.main([*config("mrdf", train={**RECIPE, "epochs": 1}), "--folds", str(folder)])
    assert "2 folds, fused score" in capsys.readouterr().out
    summary = json.loads((tmp_path / "runs" / "mrdf-folds.json").read_text())
    folds = [
        json.loads((tmp_path / f"runs/mrdf-fold_{n}/eval/test/report.json").read_text())["overall"]["fused"]["auc"]
        for n in (1, 2)
    ]
    assert summary["metrics"]["overall"]["auc"]["folds"] == folds
    assert summary["metrics"]["overall"]["auc"]["mean"] == pytest.approx(np.mean(folds))


def test_wrong_requests(config, store, tmp_path):
    assert "--stage train: avff has the stages pretrain, finetune, or all" in message(
        [*config("avff"), "--stage", "train"]
    )
    assert "avff-pretrain/best.safetensors: no such weights" in message([*config("avff"), "--stage", "finetune"])
    assert "loss.adversarial: OpenAVFF has no adversarial loss" in message(config("avff", faithful=True))
    assert "model.encoder_layers: the released MRDF has none" in message(config("mrdf", faithful=True))
    parts = {**RECIPE, "micro_batch": 2}
    assert "pretrain.micro_batch: AVFF contrasts the clips of a whole batch" in message(config("avff", pretrain=parts))
    assert "finetune.micro_batch: OpenAVFF attends across the clips of a batch" in message(
        config("avff", finetune=parts, faithful=True, loss={"adversarial": 0.0})
    )
    assert "train.micro_batch: MRDF's batch norms need the whole batch: set it to 0" in message(
        config("mrdf", train=parts)
    )
    assert "match.micro_batch: VFD contrasts the clips of a whole batch" in message(config("vfd", match=parts))
    marlin = {**SYSTEMS["avff"]["model"], "marlin": {"file": str(tmp_path / "none.pt")}}
    assert "none.pt: no such checkpoint" in message(config("avff", model=marlin))
    one = {**SYSTEMS["vfd"]["model"], "face": {"file": "x"}}
    assert "face and voice weights go together" in message(config("vfd", model=one))
    assert not (tmp_path / "runs").exists(), "nothing is half-written"
    baseline.main([*config("avff"), "--stage", "pretrain"])
    assert "the pretrain stage of avff has no classifier yet" in message(
        ["--run", str(tmp_path / "runs" / "avff-pretrain")], evaluate
    )
    assert "holds a run already" in message([*config("avff"), "--stage", "pretrain"])
    assert "made with another 'pretrain.lr'" in message([*config("avff"), "--resume", "--pretrain.lr=0.5"])
    baseline.main([*config("avff"), "--stage", "pretrain", "--resume", "--finetune.lr=0.5"])  # irrelevant to this stage


def test_mrdf_refuses_a_tier_without_labels_of_both_modalities(config, store, tmp_path):
    metas = ElementStore(store / "elements").metas
    unknown = replace(metas[0], tier="FAKE")
    cfg = load(config("mrdf")[1], MrdfConfig)
    with pytest.raises(UserError, match="the tier FAKE does not have"):
        mrdf.batches(cfg, "train", [*metas, unknown])


def test_other_configs_are_refused(config, store, tmp_path):
    ours = make_run(tmp_path, "train", store)
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(weights.load(ours / BEST, "train").facts.config.model_dump()))
    assert 'this script takes a config with kind "avff" or "mrdf" or "vfd"' in message(["--config", str(path)])
    assert load_run(ours, "cpu").branches == ("audio", "visual", "fused")
