"""Training scripts end to end on a synthetic store: their outputs, and user errors."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import baseline
import evaluate
import pretrain
import train
from avdfd import config, report
from avdfd.config import AudioModelConfig, PretrainConfig, TrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_wav
from avdfd.features.window import WINDOW
from avdfd.inference import scoring
from avdfd.inference.runs import load_run, trained_under
from avdfd.metrics import roc
from avdfd.models.two_branch import TwoBranchOutput
from avdfd.splits.files import save
from avdfd.splits.page_disjoint import page_folds
from avdfd.training import build
from tests.helpers.runs import AUDIO, SPECTRA, SPLITS, epochs, log, make_run, write_config
from tests.paths import ROOT


def test_both_stages_are_trained(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    one = tmp_path / "runs" / "one"
    assert re.search(r"training elements: 0\.\d\d GB in memory; validation elements: 0\.\d\d GB in memory\n", log(one))
    states = {"best.safetensors", "last-00002-0000000.pt", "last-00003-0000000.pt"}
    others = {".lock", "config.json", "metrics.jsonl", "examples.png", "tensorboard", "log.txt", "best.json", "card.md"}
    assert {p.name for p in one.iterdir()} == {*others, *states, *(f"{name}.sha256" for name in states)}
    assert [e["epoch"] for e in epochs(one)] == [1, 2, 3]
    assert json.loads((one / "config.json").read_text())["git"]
    best = max(range(3), key=lambda i: epochs(one)[i]["val_auc"])
    assert f"epoch {best + 1}: " in [x for x in (one / "log.txt").read_text().splitlines() if x.endswith("best")][-1]

    assert "stage 1: the audio branch" in (one / "card.md").read_text()

    train.main(stage2())
    two = tmp_path / "runs" / "two"
    assert "stage 2: the detector" in (two / "card.md").read_text()
    assert "training elements: on disk, read by no loader processes; validation" in log(two)
    assert len(epochs(two)) == 2
    audio, detector = load_run(one, "cpu"), load_run(two, "cpu")
    assert audio.branches == ("audio",)
    assert detector.branches == ("audio", "visual", "fused")
    for name in ("encoder", "head"):
        ours = getattr(detector.model, f"audio_{name}").state_dict()
        for key, value in getattr(audio.model, name).state_dict().items():
            assert torch.equal(ours[key], value), f"audio_{name}.{key} is not stage 1's"


def test_ground_truth_chooses_training_windows_only(tmp_path, capsys, monkeypatch):
    """Clips of two windows, 0 to 3 s and 6 to 9 s; of the fakes the second one is real, and in one its first has 0.05 s
    of fake audio."""
    rng = np.random.default_rng(0)
    with ElementWriter(tmp_path / "elements", {"made": "up"}) as writer:
        for identity in (one for some in SPLITS.values() for one in some):
            for tier, periods in (("RVRA", ""), ("RVFA", "[[1, 2]]" if identity != "id1" else "[[1, 1.05]]")):
                clip = {"tier": tier, "identities": [identity], "base": identity, "sha256": f"{tier}{identity}"}
                parts = [encode_audio(rng.uniform(-0.5, 0.5, WINDOW), mel=False) for _ in range(2)]
                cut = [{"start": 6.0 * n, "end": 6 * n + 3.072, "parts": part} for n, part in enumerate(parts)]
                writer.add({**clip, "source": f"{tier}/{identity}.mp4", "audio_fake_periods": periods}, cut)
    (tmp_path / "splits").mkdir()
    for split, identities in SPLITS.items():
        (tmp_path / "splits" / f"{split}.txt").write_text("\n".join(identities))
    values = {"model": AUDIO, "optim": {"epochs": 1, "warmup_epochs": 0, "batch_size": 1}}
    args = write_config(tmp_path, tmp_path, "pretrain", "one", ["RVFA"], values)
    for min_fake, count in ((0.0, 8), (0.1, 5)):
        pretrain.main([*args, f"--data.min_fake={min_fake}", f"--name=from{min_fake}"])
        assert f"stage 1: {count} training and 8 validation elements" in capsys.readouterr().out
    with pytest.raises(UserError, match="no training window of a fake has 2 fake seconds; lower data.min_fake"):
        pretrain.main([*args, "--data.min_fake=2", "--name=none"])
    assert not (tmp_path / "runs" / "none").exists()
    monkeypatch.setattr(report, "draw", lambda _: {})
    evaluate.main(["--run", str(tmp_path / "runs" / "from0.1"), "--bootstrap", "0"])
    tested = json.loads((tmp_path / "runs" / "from0.1" / "eval" / "test" / "report.json").read_text())
    assert (tested["overall"]["clips"], tested["overall"]["fake_clips"]) == (6, 3)
    assert (tested["windows"]["clips"], tested["windows"]["fake_clips"]) == (12, 3)
    assert (tested["localisation"]["periods"], list(tested["localisation"]["systems"])) == (3, ["audio"])


def test_the_epoch_is_selected_on_validation_tiers(stage1, stage2, store, tmp_path, monkeypatch):
    """Each script trains on its fake tiers and validates on RVFA-VC; a stage without labels has real clips only."""

    class OpenedError(Exception):
        pass

    def noted(*arguments):
        *_, (train_set, _), (val_set, _) = arguments
        raise OpenedError(*({meta.tier for meta in one.metas} - {"RVRA"} for one in (train_set, val_set)))

    monkeypatch.setattr(pretrain, "open_stage1", noted)
    monkeypatch.setattr(train.cached_batches, "open_stage2", noted)
    monkeypatch.setattr(baseline, "open_batches", noted)

    def tiers(script, arguments, *more):
        with pytest.raises(OpenedError) as opened:
            script.main([*arguments, '--data.validation_tiers=["RVFA-VC"]', *more])
        return opened.value.args

    make_run(tmp_path / "runs", "pretrain", store).rename(tmp_path / "runs" / "one")
    assert tiers(pretrain, stage1(name="other")) == ({"RVFA", "RVFA-VC"}, {"RVFA-VC"})
    assert tiers(train, stage2()) == ({"RVFA", "FVRA"}, {"RVFA-VC"})
    mrdf, vfd = (write_config(tmp_path, store, kind, kind, ["RVFA", "FVRA"], {}) for kind in ("mrdf", "vfd"))
    assert tiers(baseline, mrdf) == ({"RVFA", "FVRA"}, {"RVFA-VC"})
    assert tiers(baseline, vfd, "--stage", "match") == (set(), set())


def test_published_recipes_select_by_average_precision():
    for path, model in (("config/pretrain.json", PretrainConfig), ("config/train.json", TrainConfig)):
        assert config.load(ROOT / path, model).select.metric == "ap"


def test_faithful_stage_1_counts_anchors_without_a_positive():
    values = {"name": "x", "data": {"splits": "none", "fake_tiers": ["RVFA"]}, "loss": {"auxiliary": 0.0}}
    default, faithful = (parse({**values, "faithful": way}, PretrainConfig, "test") for way in (False, True))
    z, classes = torch.nn.functional.normalize(torch.randn(4, 8), dim=1), torch.tensor([0, 0, 0, 3])
    batch = z, torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 1.0]), classes, torch.zeros(8)
    torch.testing.assert_close(pretrain.stage1_loss(faithful, *batch), 0.75 * pretrain.stage1_loss(default, *batch))


def test_only_learned_fusion_weights_are_supervised():
    values = {"name": "x", "audio": "none", "data": {"splits": "none", "fake_tiers": ["RVFA", "FVRA"]}}
    one = torch.ones(2)
    log_weights, label = torch.tensor([[0.25, 0.75], [0.2, 0.8]]).log(), torch.tensor([0.0, 1.0])
    out = TwoBranchOutput(one, one, one, 0 * one, log_weights, torch.zeros(2, 8))
    parts = torch.tensor([[0.0, 0.0], [0.0, 1.0]])

    def loss(**changes):
        return train.stage2_loss(parse({**values, **changes}, TrainConfig, "test"), out, label, parts).item()

    plain = loss(loss={"confidence": 0})
    assert loss(fusion="visual") == loss(fusion="fixed") == plain
    told = -((np.log(0.25) + np.log(0.75)) / 2 + np.log(0.8)) / 2
    assert loss(loss={"confidence": 2.0}) == pytest.approx(plain + 2 * told, rel=1e-5)


def test_synchrony_is_learned_from_clips_out_of_sync(stage1, stage2, tmp_path, monkeypatch):
    labels = []
    loss = train.stage2_loss
    monkeypatch.setattr(train, "stage2_loss", lambda *args: (labels.append(args[2]), loss(*args))[1])
    pretrain.main(stage1())
    reals = {}
    for name, synchrony in (("in", None), ("out", {"out_of_step": 1.0})):
        labels.clear()
        train.main([*stage2(name=name, synchrony=synchrony), "--optim.epochs=1"])
        reals[name] = int((torch.cat(labels) == 0).sum())
    assert reals["in"] > 0
    assert reals["out"] == 0
    detector = load_run(tmp_path / "runs" / "out", "cpu").model
    assert detector.synchrony.logit.bias.item() != -1.0


def test_audio_branch_of_the_waveform(stage1, stage2, tmp_path):
    """Losses do not depend on where patches are kept, and stage 2 takes such an audio branch as any other."""
    robust = {"model": SPECTRA, "augment": {}, "loss": {"ranking": 1.0}}
    pretrain.main(stage1(**robust))
    pretrain.main([*stage1(**robust, name="disk"), "--data.home=disk"])
    one, disk = (tmp_path / "runs" / name for name in ("one", "disk"))
    assert epochs(one) == epochs(disk)
    assert "training elements: 0.00 GB in memory" in log(one)
    with pytest.raises(UserError, match=r"takes the waveform and has no mel: set augment.mel_noise to 0"):
        train.main([*stage2(name="noisy"), "--augment.mel_noise=0.1"])
    train.main(stage2())
    detector, audio = load_run(tmp_path / "runs" / "two", "cpu"), load_run(one, "cpu")
    assert detector.inputs.audio == audio.inputs.audio == "waveform"
    assert torch.equal(detector.model.audio_encoder.patch_proj.weight, audio.model.encoder.patch_proj.weight)


def test_page_auc_selects_if_pages_have_both_classes(stage1, store, tmp_path):
    pretrain.main(stage1(select={"metric": "page_auc"}))
    for epoch in epochs(tmp_path / "runs" / "one"):  # all clips are of one page, which nobody has named
        assert epoch["val_page_auc"] == pytest.approx(epoch["val_auc"])
    metas = [replace(meta, page=meta.tier) for meta in ElementStore(store / "elements").metas]
    with pytest.raises(UserError, match="no page has real and fake validation elements"):
        pretrain.pages_of(config.load(stage1()[1], PretrainConfig), metas)


def test_first_epoch_of_selection(stage1, tmp_path):
    pretrain.main(stage1(select={"first_epoch": 3}))
    run = tmp_path / "runs" / "one"
    facts = json.loads((run / "best.json").read_text())
    assert (facts["epoch"], facts["value"]) == (3, epochs(run)[2]["val_auc"])


def test_folds_are_trained_and_judged_by_page(stage1, tmp_path, capsys):
    """Speech of eight pages, each with its own identities and method; all fakes have a hum."""
    rng = np.random.default_rng(0)
    hum = 0.3 * np.sin(2 * np.pi * 440 * np.arange(WINDOW) / 16_000)
    with ElementWriter(tmp_path / "speech", {"made": "up"}) as writer:
        for page, person, tier in itertools.product(range(8), range(4), ("RVRA", "RVFA-VC")):
            base = f"p{page}/{person}_RVRA.wav"
            facts = {"identities": [f"p{page}-{person}"], "base": base, "page": f"p{page}", "race": "", "gender": ""}
            source = f"p{page}/{person}_{tier}.wav"
            clip = {"tier": tier, "source": source, "sha256": source, "method": f"vc {page}", **facts}
            audio = 0.1 * rng.standard_normal(WINDOW) + hum * (tier != "RVRA")
            (tmp_path / source).parent.mkdir(exist_ok=True)
            (tmp_path / source).write_bytes(encode_wav(audio, 16_000))
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": encode_audio(audio)}])
    store = ElementStore(tmp_path / "speech")
    lists = {f"fold_{n}": fold for n, fold in enumerate(page_folds(store.metas, 2, 0.2), 1)}
    save(tmp_path / "folds", "page_disjoint", 0, lists, store.metas, unknown_methods=["vc 0"])
    data = {"elements": str(store.root), "splits": "none", "fake_tiers": ["RVFA-VC"], "workers": 0}
    command = [*stage1(name="s", data=data), "--folds", str(tmp_path / "folds"), "--probes"]
    with pytest.raises(UserError, match=r"p0/0_RVFA-VC\.wav: no such file"):  # before training, not after it
        pretrain.main([*command, str(tmp_path / "elsewhere")])
    assert not (tmp_path / "runs").exists()
    (tmp_path / "p7" / "3_RVFA-VC.wav").write_bytes(b"no media")
    pretrain.main([*command, str(tmp_path)])
    printed = capsys.readouterr().out
    judged = json.loads((tmp_path / "runs" / "s-pages.json").read_text())
    assert list(judged["pages"]) == [f"p{n}" for n in range(8)]
    assert all(page["clips"] == 8 and page["pairs"] == 4 for page in judged["pages"].values())
    assert judged["methods"].keys() == {f"vc {n}" for n in range(8)}
    assert judged["probes"]["loudness"]["mean"]["auc"]["value"] == 1.0, "the hum makes fakes louder"
    assert "mean over pages: AUC" in printed
    assert "methods without a family in the table of the folds: vc 0" in printed
    assert judged["unknown_methods"] == ["vc 0"]
    assert "not probed: p7/3_RVFA-VC.wav: cannot be read" in printed
    assert {path.name for path in (tmp_path / "runs").glob("s-fold_*")} == {"s-fold_1", "s-fold_2"}
    run = load_run(tmp_path / "runs" / "s-fold_1", "cpu")
    test = split_metas(run.config, store, "test")
    scores = scoring.score(run, ElementSet(store, test, run.inputs)).branch["audio"]
    members = [n for n, meta in enumerate(test) if meta.page == test[0].page]
    auc = roc.auc([test[n].label for n in members], scores[members])
    assert judged["pages"][test[0].page]["auc"] == pytest.approx(auc)


def test_equal_seeds_give_equal_runs(stage1, tmp_path):
    pretrain.main(stage1())
    pretrain.main(stage1(name="again"))
    pretrain.main(stage1(name="other", seed=1))
    first, again, other = (epochs(tmp_path / "runs" / n) for n in ("one", "again", "other"))
    assert first == again
    assert first != other


def test_checkpointing_changes_nothing_and_can_be_enabled_later(stage1, tmp_path):
    pretrain.main(stage1())
    whole = epochs(tmp_path / "runs" / "one")
    pretrain.main(stage1(name="again", speed={"checkpointing": True}))
    assert epochs(tmp_path / "runs" / "again") == whole
    lines = [json.loads(line) for line in (tmp_path / "runs" / "one" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["tflops"] > 0 and "mfu" not in line for line in lines)
    pretrain.main([*stage1(speed={"checkpointing": True}), "--resume"])


def test_micro_batches_give_the_losses_of_the_batch(stage1, stage2, tmp_path, monkeypatch):
    pretrain.main(stage1())
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    predictor = {"depth": 1, "heads": 2, "dropout": 0.0}
    for name, most in (("whole", 0), ("parts", 3)):
        train.main([*stage2(name=name, predictor=predictor), f"--micro_batch={most}"])
    whole, parts = (epochs(tmp_path / "runs" / name) for name in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_training_stops_early(stage1, tmp_path):
    changes = {"optim": {"lr": 1e-12, "epochs": 9, "warmup_epochs": 0, "batch_size": 4}}
    pretrain.main(stage1(**changes, select={"metric": "auc", "patience": 2}))
    # Nothing is learned at this rate, so the first epoch stays the best.
    assert len(epochs(tmp_path / "runs" / "one")) == 3


def test_faithful_mode_leaves_the_audio_head_random(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    train.main(stage2(faithful=True, loss={"confidence": 0}))
    audio, detector = (load_run(tmp_path / "runs" / n, "cpu").model for n in ("one", "two"))
    assert torch.equal(detector.audio_encoder.pos_emb, audio.encoder.pos_emb)
    assert not torch.equal(detector.audio_head[0].weight, audio.head[0].weight)


def test_stage_2_from_the_authors_encoder(stage2, store, tmp_path, monkeypatch):
    """Their file has no head: it is trained, or stays random where faithful, and is refused otherwise."""
    monkeypatch.setattr(build, "AudioModelConfig", lambda: AudioModelConfig(**AUDIO))
    path = tmp_path / "audio_pretrained.pt"
    encoder = build.build_audio_encoder(AudioModelConfig(**AUDIO))
    torch.save(encoder.state_dict(), path)
    once = {"audio": str(path), "optim": {"lr": 1e-3, "epochs": 1, "warmup_epochs": 0, "batch_size": 4}}
    with pytest.raises(UserError, match=r"the released encoder has no head.*: set audio_lr_scale to train"):
        train.main(stage2(**once))
    assert not (tmp_path / "runs" / "two").exists()
    train.main(stage2(**once, faithful=True, loss={"confidence": 0}))
    run = load_run(tmp_path / "runs" / "two", "cpu")
    assert torch.equal(run.model.audio_encoder.pos_emb, encoder.pos_emb)
    assert trained_under(run) == [run.config]
    train.main(stage2(**once, audio_lr_scale=1.0, name="tuned"))
    tuned = load_run(tmp_path / "runs" / "tuned", "cpu").model
    assert not torch.equal(tuned.audio_encoder.pos_emb, encoder.pos_emb)
    torch.save({"something": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"audio_pretrained.pt: not a checkpoint of this model: lacks \d+ of"):
        train.main(stage2(**once, audio_lr_scale=1.0, name="other"))


def test_frozen_backbone_does_not_change(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    train.main(stage2(backbone_lr_scale=0, optim={"lr": 1e-3, "epochs": 1, "warmup_epochs": 1, "batch_size": 4}))
    train.main(stage2(backbone_lr_scale=0, optim={"lr": 1e-2, "epochs": 2, "warmup_epochs": 1}, name="longer"))
    short, longer = (load_run(tmp_path / "runs" / n, "cpu").model.state_dict() for n in ("two", "longer"))
    same = {k for k in short if torch.equal(short[k], longer[k])}
    assert {k for k in short if k.startswith("visual_encoder.backbone.")} <= same
    assert "visual_encoder.proj.weight" not in same


def test_user_errors_are_explained(stage1, stage2, tmp_path):
    def message(script, arguments):
        with pytest.raises(UserError) as error:
            script.main(arguments)
        return str(error.value)

    assert "no such weights" in message(train, stage2())
    pretrain.main(stage1())
    assert "none: no such weights" in message(train, stage2(audio=str(tmp_path / "none")))
    for key in ("data.fake_tiers", "data.validation_tiers"):
        said = message(pretrain, [*stage1(), f'--{key}=["FVRA"]', "--name=x"])
        assert f"{key}: stage 1 has no class for FVRA" in said
    assert "train.txt" in message(pretrain, [*stage1(), f"--data.splits={tmp_path}/none", "--name=x"])
    train.main(stage2())
    assert "a model of 'train', expected one of 'pretrain'" in message(
        train, stage2(audio=str(tmp_path / "runs" / "two"), name="x")
    )
    best = tmp_path / "runs" / "one" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:3000])
    assert "damaged, its sha256 differs from best.safetensors.sha256" in message(train, stage2(name="x"))
    assert not (tmp_path / "runs" / "x").exists(), "no run folder is created"
