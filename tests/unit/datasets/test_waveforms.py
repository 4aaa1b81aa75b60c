"""Augmentation of waveforms: every kind, by its probability and range, the same whatever the loader and the batch."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import welch

from avdfd.baselines import countermeasure
from avdfd.config import (
    AugmentConfig,
    AvffConfig,
    CountermeasureConfig,
    DataConfig,
    PretrainConfig,
    TrainConfig,
    WaveformAugmentConfig,
)
from avdfd.core.errors import UserError
from avdfd.datasets.batches import Batches, open_batches
from avdfd.datasets.loaders import ElementSet, InputForm, Inputs
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.datasets.waveforms import augmented, augmented_windows
from avdfd.elements import ElementStore
from avdfd.features import distortions, rawboost
from avdfd.features.window import SAMPLE_RATE, WINDOW
from avdfd.media.codecs import round_trip
from tests.helpers.signals import power, speech_like

CPU = torch.device("cpu")
CODECS: dict[str, Any] = {"codec": 1.0, "codecs": [{"name": "mulaw"}, {"name": "mp3", "bit_rate": 32_000}]}
KINDS: dict[str, dict[str, Any]] = {
    "speed": {"speed": 1.0},
    "reverberation": {"reverberation": 1.0},
    "noise": {"noise": 1.0},
    "convolutive": {"convolutive": 1.0},
    "impulsive": {"impulsive": 1.0},
    "stationary": {"stationary": 1.0},
    "band": {"band": 1.0},
    "codec": CODECS,
}
EVERY = {key: value for kind in KINDS.values() for key, value in kind.items()}


def config(values: dict[str, Any]) -> WaveformAugmentConfig:
    return WaveformAugmentConfig.model_validate(values)


def draw(values: dict[str, Any], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return augmented(torch.from_numpy(speech_like()), config(values), rng, round_trip).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_audio_by_a_draw_of_its_own(kind: str):
    one, again = draw(KINDS[kind]), draw(KINDS[kind])
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    assert any(not np.array_equal(one, draw(KINDS[kind], seed)) for seed in range(1, 12))
    assert len(one) != WINDOW if kind == "speed" else np.abs(one - speech_like()).max() > 1e-4


def test_without_kinds_nothing_changes():
    np.testing.assert_array_equal(draw({}), speech_like())


def test_changes_without_a_probability_are_none():
    assert AugmentConfig.model_validate({"waveform": {}}) == AugmentConfig()
    saved = WaveformAugmentConfig().model_dump()
    assert AugmentConfig.model_validate({"waveform": saved}) == AugmentConfig()
    one = {**saved, "band": 0.1}
    assert AugmentConfig.model_validate({"waveform": one}).waveform == config(one)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("speed_factor", [0.9, 1.1], "speed"),
        ("rt60", [0.1, 0.2], "reverberation"),
        ("noise_snr", [5.0, 20.0], "noise"),
        ("impulsive_percent", 5.0, "impulsive"),
        ("impulsive_gain", 1.0, "impulsive"),
        ("stationary_snr", [5.0, 20.0], "stationary"),
        ("band_edge", [3000.0, 4000.0], "band"),
    ],
)
def test_a_limit_without_its_probability_is_refused(key: str, value: Any, kind: str):
    with pytest.raises(ValueError, match=f"{key} has no effect without {kind}, the probability"):
        config({key: value, "codec": 1.0, "codecs": [{"name": "mulaw"}]})
    assert getattr(config({key: value, kind: 0.0}), key) == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_is_the_share_of_changed_clips(kind: str, monkeypatch):
    monkeypatch.setattr(rawboost, "convolutive", lambda audio, rng: audio + 1)
    monkeypatch.setattr(distortions, "reverberation", lambda audio, rt60, rng: audio + 1)
    values = {**KINDS[kind], kind: 0.3}
    audio, mulaw = torch.from_numpy(speech_like()[:800]), lambda codec, one, rate: one + 1
    changed = 0
    for seed in range(300):
        found = augmented(audio, config(values), np.random.default_rng(seed), mulaw)
        changed += found.shape != audio.shape or not torch.equal(found, audio)
    assert changed / 300 == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("kind", ["noise", "stationary"])
def test_noise_has_a_ratio_of_its_range(kind: str):
    ratios = []
    for seed in range(12):
        added = draw({kind: 1.0, f"{kind}_snr": [5.0, 15.0]}, seed) - speech_like()
        ratios.append(10 * np.log10(power(speech_like()) / power(added)))
    assert 4.9 < min(ratios) < 8
    assert 12 < max(ratios) < 15.1


def test_nothing_is_left_above_the_band():
    for seed in range(4):
        found = draw({"band": 1.0, "band_edge": [3000.0, 4000.0]}, seed)
        frequency, level = welch(found, SAMPLE_RATE, nperseg=1024)
        _, before = welch(speech_like(), SAMPLE_RATE, nperseg=1024)
        ratio = 10 * np.log10(level / before)
        assert ratio[frequency > 4200].max() < -50
        assert np.abs(ratio[(frequency > 50) & (frequency < 2500)]).max() < 0.5


@pytest.mark.parametrize("factor", [0.9, 1.25])
def test_another_speed_is_cut_or_repeated_to_a_window(factor: float):
    cfg = config({"speed": 1.0, "speed_factor": [factor, factor]})
    audio = torch.from_numpy(speech_like())
    (found,) = augmented_windows(audio[None], cfg, [np.random.default_rng(0)], None).numpy()
    alone = distortions.speed(audio.numpy(), factor)
    assert found.shape == (WINDOW,)
    np.testing.assert_array_equal(found[: len(alone)], alone[:WINDOW])
    np.testing.assert_array_equal(found[len(alone) :], alone[: max(0, WINDOW - len(alone))])


@pytest.fixture(scope="module")
def elements(small_store) -> ElementStore:
    return ElementStore(small_store / "elements")


def sets(store: ElementStore) -> dict[str, ElementSet]:
    changes = config(EVERY)
    forms: dict[str, InputForm] = {
        "stage 1": Inputs(None, AugmentConfig(waveform=changes), audio="waveform", round_trip=round_trip),
        "countermeasure": countermeasure.Inputs(6_000, changes),
    }
    return {name: ElementSet(store, store.metas[:5], form) for name, form in forms.items()}


def waveforms(batches: Batches, epoch: int, first: int = 0) -> list[torch.Tensor]:
    batches.order.start(epoch, first)
    return [batch.mel if hasattr(batch, "mel") else batch.waveform for _, batch in batches]


@pytest.mark.parametrize("name", ["stage 1", "countermeasure"])
def test_loader_processes_batch_mates_and_resuming_change_nothing(elements: ElementStore, name: str):
    data = sets(elements)[name]
    order = lambda size=2: Shared(Shuffled(len(data), size, seed=1))  # noqa: E731
    whole = Batches(data, order(), CPU)
    first, second = waveforms(whole, 0), waveforms(whole, 1)
    workers = Batches(data, order(), CPU, workers=2)
    assert all(torch.equal(a, b) for a, b in zip(first, waveforms(workers, 0), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(second, waveforms(workers, 1), strict=True))
    rest = waveforms(Batches(data, order(), CPU), 1, first=1)
    assert all(torch.equal(a, b) for a, b in zip(second[1:], rest, strict=True))
    large = torch.cat(waveforms(Batches(data, order(5), CPU), 0))
    assert sorted(large.sum(dim=1).tolist()) == sorted(torch.cat(first).sum(dim=1).tolist())
    assert not {one.sum().item() for batch in first for one in batch} & {
        one.sum().item() for batch in second for one in batch
    }, "another draw in every epoch"


@pytest.mark.parametrize("name", ["stage 1", "countermeasure"])
def test_without_seeds_nothing_is_changed(elements: ElementStore, name: str):
    data = sets(elements)[name]
    raw = data.raw([0, 1])
    plain = ElementSet(elements, data.metas, Inputs(None, audio="waveform"))
    found = data.inputs.prepare(raw, None)
    if name == "stage 1":
        assert torch.equal(found.mel, plain.inputs.prepare(raw, None).mel)
    else:
        assert torch.equal(found.waveform[:, :6_000], plain.inputs.prepare(plain.raw([0, 1]), None).mel[:, :6_000])


def test_loader_processes_prepare_augmented_waveforms(elements: ElementStore):
    data = sets(elements)["stage 1"]
    cfg = DataConfig(elements="x", splits="y", fake_tiers=["RVFA"], workers=0)
    (batches,) = open_batches(cfg, CPU, (data, Shared(Shuffled(5, 2, seed=1))))
    assert batches.place == "disk"
    with pytest.raises(UserError, match="data.home 'memory': waveforms are augmented by loader processes"):
        open_batches(cfg.model_copy(update={"home": "memory"}), CPU, (data, Shared(Shuffled(5, 2, seed=1))))


BASE: dict[str, Any] = {
    "name": "x",
    "data": {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]},
    "augment": {"waveform": {"noise": 1.0}},
}


@pytest.mark.parametrize(
    ("kind", "more"), [(PretrainConfig, {}), (TrainConfig, {"audio": "runs/one"}), (AvffConfig, {})]
)
def test_models_that_take_no_waveform_in_training_refuse(kind: Any, more: dict[str, Any]):
    with pytest.raises(ValueError, match=r"augment\.waveform changes waveforms, which stage 1 with model\.input"):
        kind.model_validate({**BASE, **more})


def test_models_that_take_waveforms_accept():
    model = {"input": "waveform", "patches": "statistics", "spectra": [256]}
    assert PretrainConfig.model_validate({**BASE, "model": model}).augment.waveform is not None
    assert CountermeasureConfig.model_validate(BASE).augment.waveform is not None
    with pytest.raises(ValueError, match="takes neither mels nor frames"):
        CountermeasureConfig.model_validate({**BASE, "augment": {"flip": 0.5}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_snr": [40.0, 10.0]}, "noise_snr: 40 is above 10"),
        ({"speed_factor": [0.1, 1.0]}, "speeds are from 0.25 to 4"),
        ({"band_edge": [3000.0, 9000.0]}, "band edges are from 100 to 8000 Hz"),
        ({"codec": 0.5}, "set both, or none"),
        ({"codecs": [{"name": "mulaw"}]}, "set both, or none"),
    ],
)
def test_inconsistent_settings_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        config(values)
