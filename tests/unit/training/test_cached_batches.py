"""Training on cached features: equal losses, homes, resuming, signals, refused settings."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import train
from avdfd.config import SearchConfig, TrainConfig, load
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.core.tiers import AUDIO_CLASS
from avdfd.datasets.element_parts import audio_class_of
from avdfd.datasets.samplers import Sequential, Shared
from avdfd.elements import ElementStore, ElementWriter
from avdfd.inference.runs import load_run
from avdfd.models.two_branch import Encoded, TwoBranchDetector
from avdfd.search.points import expand
from avdfd.training import backbone_cache, cached_batches
from avdfd.training.cached_batches import CachedBatches
from avdfd.training.state import Training
from tests.helpers.runs import VISUAL, epochs, make_run, make_store, write_config
from tests.unit.training.test_backbone_cache import CPU, encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    make_run(root, "pretrain")
    return root


@pytest.fixture
def stage2(made, tmp_path):
    """Arguments for a run with a frozen backbone."""
    values = {
        "audio": str(made / "pretrain"),
        "visual": VISUAL,
        "predictor": {"depth": 1, "heads": 2},
        "optim": {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4},
        "backbone_lr_scale": 0,
    }
    return write_config(tmp_path, made, "train", "plain", ["RVFA", "FVRA"], values)


@pytest.fixture
def empty(made, monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setattr(backbone_cache, "FOLDER", str(tmp_path / "frozen"))
    return tmp_path / "frozen"


def same(one: Path, other: Path) -> bool:
    states = [load_run(run, "cpu").model.state_dict() for run in (one, other)]
    return epochs(one) == epochs(other) and all(torch.equal(states[0][key], value) for key, value in states[1].items())


@pytest.mark.parametrize(
    ("tokens", "tolerance", "options"),
    [("float16", 1e-3, []), ("float32", 1e-6, []), ("float32", 1e-6, ["--direction=symmetric", "--fusion=fixed"])],
)
def test_cached_run_has_uncached_losses(stage2, empty, tmp_path, monkeypatch, capsys, tokens, tolerance, options):
    monkeypatch.setattr(backbone_cache, "TOKENS", tokens)
    train.main([*stage2, *options])
    train.main([*stage2, *options, "--cache=true", "--name=cached"])
    plain, cached = (epochs(tmp_path / "runs" / name) for name in ("plain", "cached"))
    for one, other in zip(plain, cached, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=tolerance)
        assert other["val_auc"] == pytest.approx(one["val_auc"], abs=0.05)
    said = capsys.readouterr().out
    assert "clips without augmentation, 0.00 MB each and 0.00 GB in total; 24 are missing; " in said
    assert "cache: read from memory at" in said


def test_other_runs_compute_nothing_again(stage2, empty, monkeypatch, tmp_path):
    calls = []
    encode = TwoBranchDetector.encode
    monkeypatch.setattr(
        TwoBranchDetector, "encode", lambda self, mel, video: calls.append(len(mel)) or encode(self, mel, video)
    )
    train.main([*stage2, "--cache=true"])
    assert sum(calls) == 1 + 24
    train.main([*stage2, "--cache=true", "--name=other", "--optim.lr=1e-2", "--loss.margin=0.1"])
    assert sum(calls) == 2 + 24  # the shapes
    assert "0 are missing" in (tmp_path / "runs" / "other" / "log.txt").read_text()


@pytest.mark.parametrize("cut_after", [2, 5])
def test_interrupted_run_resumes_bit_for_bit(stage2, empty, tmp_path, monkeypatch, cut_after):
    arguments = [*stage2, "--cache=true"]
    train.main(arguments)
    step, taken = Training.step, []

    def signalled(self, *rest):
        taken.append(0)
        if len(taken) == cut_after:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *rest)

    monkeypatch.setattr(Training, "step", signalled)
    with pytest.raises(EndedBySignal):
        train.main([*arguments, "--name=cut"])
    train.main([*arguments, "--name=cut", "--resume"])
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / "plain")


def test_signal_while_filling_keeps_computed_features(stage2, empty, tmp_path, monkeypatch):
    write, calls = backbone_cache.ArrayStore.write, []

    def signalled(self, *rest):
        calls.append(0)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        write(self, *rest)

    monkeypatch.setattr(backbone_cache, "BLOCK", 4)
    monkeypatch.setattr(backbone_cache.ArrayStore, "write", signalled)
    with pytest.raises(EndedBySignal, match="computed features are kept; run it again with --resume"):
        train.main([*stage2, "--cache=true"])
    before = len(calls)
    train.main([*stage2, "--cache=true", "--resume"])
    assert 0 < before < len(calls)


def test_augmentation_is_refused_with_a_cache(stage2, tmp_path, capsys):
    flips = ["--augment.flip=0.5", "--augment.mel_noise=0.1", "--cache=true"]
    with pytest.raises(UserError, match=r"without augmentation: set augment.mel_noise, augment.flip to 0, or cache to"):
        train.main([*stage2, *flips])
    train.main([*stage2, *flips, "--backbone_lr_scale=0.1"])
    assert "cache: not used, as an encoder is trained (backbone_lr_scale)" in capsys.readouterr().out
    assert "cache: not used" in (tmp_path / "runs" / "plain" / "log.txt").read_text()


def test_features_of_a_trained_audio_branch_are_not_cached(stage2, empty, tmp_path):
    train.main([*stage2, "--cache=true", "--audio_lr_scale=0.5", "--augment.flip=0.5", "--optim.epochs=1"])
    assert not empty.exists()
    said = (tmp_path / "runs" / "plain" / "log.txt").read_text()
    assert "cache: not used, as an encoder is trained (audio_lr_scale)" in said


@pytest.fixture(scope="module")
def kept(made, tmp_path_factory):
    store, some = ElementStore(made / "elements"), encoder()
    cache = backbone_cache.open_cache(store, some)
    backbone_cache.fill(cache, store.metas.rows, store, some)
    return store, cache


@pytest.mark.parametrize("place", ["gpu", "memory", "disk"])
def test_homes_give_equal_batches(kept, place):
    store, cache = kept
    metas = store.metas.take([7, 3, 50, 20, 4])
    order = Shared(Sequential(len(metas), 2))
    opened = cached_batches.CachedBatches(cache, metas, order, CPU, Encoded, place=place)
    batches = [*opened]
    assert len(opened) == len(batches) == 3
    assert torch.cat([batch.label for _, batch in batches]).tolist() == [meta.label for meta in metas]
    classes = torch.cat([batch.audio_class for _, batch in batches]).tolist()
    assert classes == [AUDIO_CLASS.get(meta.tier, -1) for meta in metas]
    assert all(batch.mel is batch.video is None and batch.model_inputs == (batch.cached,) for _, batch in batches)
    for name in Encoded._fields:
        whole = torch.cat([getattr(batch.cached, name) for _, batch in batches])
        assert whole.dtype == torch.float32
        assert torch.equal(whole, cache.array(name)[[7, 3, 50, 20, 4]].float())
    assert [share.draws for share, _ in batches] == [*order]


def test_rate_of_reading_is_measured(kept):
    store, cache = kept
    opened = cached_batches.CachedBatches(cache, store.metas, Shared(Sequential(56, 4)), CPU, Encoded)
    assert opened.rate() > 0
    few = cached_batches.CachedBatches(cache, store.metas[:2], Shared(Sequential(2, 4)), CPU, Encoded)
    assert few.rate() > 0


@pytest.mark.parametrize(
    ("read", "computed", "says"),
    [
        (50.0, 20.0, "read from files at 50.0 clips/s, computed at 20.0 on the cpu: caching pays off"),
        (5.0, 20.0, "read from files at 5.0 clips/s, computed at 20.0 on the cpu: computing is faster: set cache to"),
        (5.0, None, "read from files at 5.0 clips/s"),
    ],
)
def test_verdict_compares_reading_and_computing(kept, monkeypatch, read, computed, says):
    _, cache = kept
    facts = {} if computed is None else {"computed": {"clips_per_second": computed, "device": "cpu", "clips": 9}}
    monkeypatch.setattr(cache, "about", lambda: facts)
    assert cached_batches._verdict(cache, "disk", read, "cache").startswith(says)


def test_features_that_are_always_cached_name_no_key(kept, monkeypatch):
    _, cache = kept
    monkeypatch.setattr(cache, "about", lambda: {"computed": {"clips_per_second": 20.0, "device": "cpu", "clips": 9}})
    assert cached_batches._verdict(cache, "disk", 5.0, "").endswith("computed at 20.0 on the cpu: computing is faster")


def test_shipped_search_uses_the_cache():
    runs = expand(load("config/search/frozen.json", SearchConfig), "config/search/frozen.json")
    configs = [run.config for run in runs]
    assert all(isinstance(cfg, TrainConfig) and cfg.cache and cfg.backbone_lr_scale == 0 for cfg in configs)


def test_cached_windows_have_their_own_labels(tmp_path):
    of_clip = {"audio_fake_periods": "[[0, 0.5], [2.5, 3]]", "visual_fake_periods": "[[5, 9]]"}
    clip = {"identities": ["A"], "base": "a.mp4", "method": "", "sha256": ""}
    windows = [{"start": start, "end": start + 1.0, "parts": {}} for start in (0.0, 1.0, 2.0, 5.0)]
    with ElementWriter(tmp_path / "store", {}) as writer:
        for tier in ("FVFA", "RVFA", "RVRA"):
            writer.add({**clip, **of_clip, "source": f"{tier}.mp4", "tier": tier}, windows)
    metas = ElementStore(tmp_path / "store").metas
    rows = {name: torch.zeros(len(metas), 2) for name in Encoded._fields}
    cache = SimpleNamespace(array=rows.__getitem__, formats=rows)
    batch = CachedBatches(cache, metas, Shared(Sequential(12, 12)), torch.device("cpu"), Encoded).take(range(12))
    assert batch.label.tolist() == [1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0]
    assert batch.fake_modalities[:4].tolist() == [[1, 0], [0, 0], [1, 0], [0, 1]]
    assert batch.audio_class.tolist() == [-1, -1, -1, -1, 3, 0, 3, 0, 0, 0, 0, 0]
    assert batch.label.tolist() == [meta.window.label for meta in metas]
    assert batch.audio_class.tolist() == [audio_class_of(meta) for meta in metas]
