"""Both stages on a pretrained audio encoder: drawn weights of a small one, from a file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import detect
import pretrain
import train
from avdfd.config import AudioModelConfig
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.datasets.loaders import Inputs
from avdfd.elements import ElementStore
from avdfd.inference.runs import audio_only, load_run
from avdfd.models.speech_encoder import Hidden, SpeechEncoder, layers_of, loudness_weights, summary
from avdfd.training import backbone_cache, weights
from avdfd.training.build import build_audio_encoder, load_audio_net, start_front
from avdfd.training.front_cache import FrozenFront
from tests.helpers.encoders import WAVLM, WHISPER, audio_model, encoder_files
from tests.helpers.runs import epochs, log, make_store, state

Values = dict[str, Any]
Files = dict[str, Path]

OPTIM: dict[str, Any] = {"lr": 1e-3, "epochs": 2, "warmup_epochs": 0, "batch_size": 4}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of drawn encoders by architecture."""
    return encoder_files(tmp_path_factory.mktemp("encoders"))


def encoder_of(front: Values, files: Files, of_model: Values | None = None, **more: Any):
    cfg = AudioModelConfig.model_validate(audio_model(front, files, of_model, **more))
    torch.manual_seed(1)
    encoder = build_audio_encoder(cfg)
    start_front(encoder, cfg)
    assert isinstance(encoder, SpeechEncoder)
    return encoder.eval()


@pytest.fixture
def own_store(tmp_path: Path) -> Path:
    """A store of its own, as a cache is written into it."""
    return make_store(tmp_path)


@pytest.mark.parametrize("front", [WHISPER, WAVLM], ids=lambda front: front["arch"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"layers": [1, 2]},
        {"layers": "learned"},
        {"head": "sls"},
        {"head": "attentive", "layers": [2]},
        {"head": "graph"},
        {"rate": 25},
    ],
    ids=str,
)
def test_shapes_and_independence_of_other_clips(front: Values, more: dict[str, Any], files: Files):
    encoder = encoder_of(front, files, **more)
    audio = torch.randn(3, 16_000, generator=torch.Generator().manual_seed(2)) / 10
    with torch.no_grad():
        feature, tokens = encoder(audio)
        alone = encoder(audio[1:2])
        front_output = encoder.front(audio)
        again = encoder(front_output)
    assert feature.shape == (3, 16)
    assert tokens.shape == (3, (50 if front["kind"] == "whisper" else 49) // (1 if more.get("rate") != 25 else 2), 16)
    torch.testing.assert_close(feature[1:2], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[1:2], alone[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again[0], feature)


@pytest.mark.parametrize("head", ["attentive", "graph"])
def test_heads_depend_on_the_order_of_time_only_as_designed(head: str, files: Files):
    """Attentive statistics are sums over time; the graph's convolutions relate neighbours."""
    without_layers = {"depth": 0, "heads": 4, "mlp_dim": 1024}  # whose sizes are then the defaults
    encoder = encoder_of(WAVLM, files, without_layers, head=head)
    hidden = Hidden(torch.randn(2, 12, 3, 16, generator=torch.Generator().manual_seed(3)))
    with torch.no_grad():
        forward, backward = (encoder(Hidden(states))[0] for states in (hidden.states, hidden.states.flip(1)))
    assert torch.allclose(forward, backward, atol=1e-5) == (head == "attentive")


def test_attentive_statistics_are_those_of_weighted_tokens(files: Files):
    encoder = encoder_of(WAVLM, files, head="attentive")
    tokens = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(4))
    assert encoder.attention is not None
    with torch.no_grad():
        first, _, second = encoder.attention
        weight = torch.softmax(second(torch.tanh(first(tokens)))[..., 0], dim=1).numpy()
        expected = []
        for w, x in zip(weight, tokens.numpy(), strict=True):
            mean = np.average(x, axis=0, weights=w)
            expected.append([*mean, *np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w) + 1e-4)])
        torch.testing.assert_close(encoder._pooled(tokens), encoder.pool_proj(torch.tensor(np.array(expected)).float()))


def test_rate_25_averages_neighbours(files: Files):
    audio = torch.randn(2, 16_000)
    with torch.no_grad():
        fast, slow = (encoder_of(WAVLM, files, rate=rate).front(audio).states for rate in (50, 25))
    assert (fast.shape[1], slow.shape[1]) == (49, 24)
    torch.testing.assert_close(slow[:, 3], (fast[:, 6] + fast[:, 7]) / 2)


def test_summary_is_mean_deviation_and_deviation_of_steps():
    states = torch.randn(2, 5, 2, 3)
    found = summary(Hidden(states, None))
    assert found.shape == (2, 18)
    torch.testing.assert_close(found[:, :6], states.mean(1).flatten(1))
    torch.testing.assert_close(found[:, 6:12], (states.var(1, unbiased=False) + 1e-4).sqrt().flatten(1))
    steps = states[:, 1:] - states[:, :-1]
    torch.testing.assert_close(found[:, 12:], (steps.var(1, unbiased=False) + 1e-4).sqrt().flatten(1))


def test_a_weighted_summary_is_that_of_the_tokens_that_count():
    states = torch.randn(2, 9, 2, 3)
    weights = torch.zeros(2, 9)
    weights[:, 2:6] = 0.25
    torch.testing.assert_close(summary(Hidden(states, None, weights)), summary(Hidden(states[:, 2:6])))
    torch.testing.assert_close(summary(Hidden(states, None, torch.full((2, 9), 1 / 9))), summary(Hidden(states)))


def test_a_weighted_mean_is_nearer_to_the_loud_tokens():
    states, weights = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1), torch.tensor([[0.2, 0.2, 0.6]])
    mean, spread, of_steps = summary(Hidden(states, None, weights))[0].tolist()
    assert mean == pytest.approx(2.0)
    assert spread == pytest.approx((0.2 * 4 + 0.2 * 1 + 0.6 * 1 + 1e-4) ** 0.5)
    share = 0.2 / (0.2 + 0.12**0.5)  # of the first step, by the geometric means of its tokens' weights
    assert of_steps == pytest.approx((share * (1 - share) + 1e-4) ** 0.5)


def test_weights_of_tokens_by_loudness():
    """The loudest token, one 25 dB below it with half its weight, one 46 dB below it, and silence."""
    amplitudes = torch.tensor([0.5, 0.5 * 10 ** (-25 / 20), 0.5 * 10 ** (-46 / 20), 0.0])
    audio = (amplitudes[:, None] * torch.tensor([1.0, -1.0] * 160)).flatten()[None]
    found = loudness_weights(torch.cat([audio, audio / 20]), 4)
    assert found.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    relative = found / found[:, :1]
    assert relative[0].tolist() == pytest.approx([1.0, 0.5, 1e-3, 0.0], abs=2e-4)
    assert relative[1].tolist() == pytest.approx([1.0, 0.5, 1e-3, 0.0], abs=2e-4), "the level of the clip is no matter"
    assert loudness_weights(torch.zeros(1, 1283), 4).tolist() == [[0.25] * 4], "all of silence counts"


def test_weights_by_loudness_change_the_fitted_score_alone(files: Files):
    equal, loud = (
        encoder_of(WHISPER, files, {"score": "fitted"}, weighting=weighting) for weighting in ("equal", "loudness")
    )
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(6)) / 10
    audio[:, 8_000:] /= 300
    for encoder in (equal, loud):
        assert encoder.score is not None
        encoder.score.direction.fill_(1.0)
    with torch.no_grad():
        ours, theirs = loud(audio), equal(audio)
        first = loud(audio[:, :8_000])[0]
    assert (ours[0][:, 0] - theirs[0][:, 0]).abs().min() > 1e-2
    torch.testing.assert_close(ours[0][:, 1:], theirs[0][:, 1:])
    torch.testing.assert_close(ours[1], theirs[1])
    assert first.isfinite().all()


@pytest.mark.parametrize("first", [None, 0, 2])
def test_train_from_leaves_the_layers_below_without_gradients(first: int | None, files: Files):
    encoder = encoder_of(WAVLM, files, train_from=first, lr_scale=None if first is None else 0.1)
    feature, _ = encoder.requires_grad_(True)(torch.randn(2, 8_000))
    feature.sum().backward()
    assert encoder.front_end is not None
    below, above = layers_of(encoder.front_end)
    got = [any(p.grad is not None for p in layer.parameters()) for layer in (below, above)]
    assert got == {None: [False, False], 0: [True, True], 2: [False, True]}[first]
    assert encoder.proj.weight.grad is not None


@pytest.mark.parametrize("front", [WHISPER, WAVLM], ids=lambda front: front["arch"])
@pytest.mark.parametrize("layers", ["all", [1]], ids=str)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("head", ["transformer", "graph"])
def test_everything_with_a_gradient_gets_one(front: Values, layers: Any, first: int, head: str, files: Files):
    """DistributedDataParallel refuses parameters that the loss does not depend on."""
    encoder = encoder_of(front, files, layers=layers, train_from=first, lr_scale=0.1, head=head).train()
    feature, tokens = encoder(torch.randn(2, 8_000))
    (feature.sum() + tokens.square().sum()).backward()
    assert not [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("weighting", ["equal", "loudness"])
def test_both_stages_on_a_frozen_encoder(
    own_store: Path, tmp_path: Path, files: Files, stage1, stage2, weighting: str, capsys
):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    of_model = {"patches": "statistics", "spectra": [256], "score": "fitted"}
    model = audio_model(WHISPER, files, of_model, weighting=weighting)
    same: dict[str, Any] = {"augment": {}, "optim": OPTIM}
    pretrain.main(stage1(data={**data, "fake_tiers": ["RVFA", "RVFA-VC"]}, model=model, **same))
    one = tmp_path / "runs" / "one"
    assert re.search(r"cache: frozen features of 24 clips .* 24 are missing", capsys.readouterr().out)
    assert "training elements: 12 cached clips in memory" in log(one)
    facts, kept = weights.load(one / BEST, "pretrain")
    assert not [key for key in kept if "front_end" in key], "a frozen encoder is referred to"
    assert facts.audio_model is not None
    assert facts.audio_model.front is not None
    assert facts.audio_model.front.sha256 == sha256_of(files["tiny"])

    again = [*stage1(data={**data, "fake_tiers": ["RVFA", "RVFA-VC"]}, model=model, **same), "--name=again"]
    pretrain.main(again)
    assert "; 0 are missing" in capsys.readouterr().out
    assert epochs(tmp_path / "runs" / "again") == epochs(one)

    train.main(stage2(data={**data, "fake_tiers": ["RVFA", "FVRA"]}, **same))
    run = load_run(tmp_path / "runs" / "two", "cpu")
    audio = audio_only(run)
    assert audio is not None
    waveform = torch.randn(2, 49_152) / 10
    with torch.no_grad():
        ours = load_run(one, "cpu").model(waveform).logit
        theirs = run.audio_branch[1](run.audio_branch[0](waveform)[0]).squeeze(-1) if run.audio_branch else None
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("more", [{"layers": "learned"}, {"head": "graph"}], ids=str)
def test_both_stages_on_a_trained_encoder(more: Values, stage1, stage2, tmp_path: Path, files: Files):
    model = audio_model(WAVLM, files, train_from=2, lr_scale=0.5, **more)
    pretrain.main(stage1(augment={}, optim=OPTIM, model=model))
    net, _ = load_audio_net(tmp_path / "runs" / "one")
    assert isinstance(net.encoder, SpeechEncoder)
    assert net.encoder.front_end is not None
    start = torch.load(files["wavlm-base-plus"])
    now = {key.removeprefix("model."): value for key, value in net.encoder.front_end.state_dict().items()}
    changed = {key for key in start if not torch.equal(start[key], now[key])}
    assert changed
    assert all(key.startswith("encoder.transformer.layers.1.") for key in changed)
    train.main(stage2(augment={}, optim={**OPTIM, "epochs": 1}))
    assert torch.equal(
        state(tmp_path / "runs" / "two")["audio_encoder.proj.weight"],
        state(tmp_path / "runs" / "one")["encoder.proj.weight"],
    )


def test_a_run_on_a_frozen_encoder_resumes(own_store: Path, tmp_path: Path, files: Files, stage1, monkeypatch):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    args = stage1(data={**data, "fake_tiers": ["RVFA"]}, model=audio_model(WHISPER, files), augment={}, optim=OPTIM)
    pretrain.main([*args, "--name=whole"])
    fill = backbone_cache.fill

    def stopped(*given, advance, **more):
        raise EndedBySignal("stopped")

    monkeypatch.setattr(backbone_cache, "fill", stopped)
    with pytest.raises(EndedBySignal):
        pretrain.main([*args, "--name=parts"])
    monkeypatch.setattr(backbone_cache, "fill", fill)
    pretrain.main([*args, "--name=parts", "--resume", "--optim.epochs=2"])
    whole, parts = (state(tmp_path / "runs" / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_cached_features_are_the_computed_ones(own_store: Path, files: Files):
    store = ElementStore(own_store / "elements")
    encoder = encoder_of(WHISPER, files, {"patches": "statistics", "spectra": [256]}, layers=[0, 2])
    frozen = FrozenFront(encoder, Inputs(None, audio="waveform"), "fp32", torch.device("cpu"))
    cache = backbone_cache.open_cache(store, frozen)
    backbone_cache.fill(cache, store.metas.rows, store, frozen)
    audio = torch.from_numpy(store.read(store.metas[3].key, waveform=True, mel=False).waveform)[None].float()
    hidden = frozen(audio)
    assert hidden.states.dtype == torch.float16
    row = store.metas.rows[3]
    torch.testing.assert_close(cache.array("states")[row], hidden.states[0], rtol=2e-3, atol=1e-3)
    assert hidden.statistics is not None
    torch.testing.assert_close(cache.array("statistics")[row], hidden.statistics[0])
    other = frozen._replace(
        model=encoder_of(WHISPER, files, {"patches": "statistics", "spectra": [256]}, layers=[1, 2])
    )
    assert backbone_cache.open_cache(store, other).root != cache.root


STATISTICS: Values = {"patches": "statistics", "spectra": [256]}


@pytest.mark.parametrize(
    ("front", "more", "of_model"),
    [
        (WAVLM, {}, {}),
        (WHISPER, {"layers": [1, 2]}, {}),
        (WHISPER, {"layers": [2]}, {}),
        (WHISPER, {"rate": 25}, {}),
        (WHISPER, {"sizes": {**WHISPER["sizes"], "heads": 4}}, {}),
        (WHISPER, {}, STATISTICS),
        (WHISPER, {}, {**STATISTICS, "spectra": [512]}),
        (WHISPER, {}, {**STATISTICS, "patch_frames": 32}),
        (WHISPER, {"layers": "learned"}, {}),
        *((WHISPER, {"head": head}, {}) for head in ("attentive", "sls", "graph")),
        (WHISPER, {"embed": True}, {}),
        (WHISPER, {}, {"depth": 2, "dim": 32, "dropout": 0.5, "projection_dim": 4}),
        (WHISPER, {}, {"score": "fitted"}),
        (WHISPER, {"weighting": "loudness"}, {"score": "fitted"}),
    ],
    ids=lambda value: value.get("arch") or str(value),
)
def test_the_cache_has_another_key_exactly_if_it_has_other_content(
    front: Values, more: Values, of_model: Values, small_store: Path, files: Files
):
    store = ElementStore(small_store / "elements")
    audio = torch.randn(1, 49_152, generator=torch.Generator().manual_seed(5)) / 10
    base, *others = (
        FrozenFront(encoder, Inputs(None, audio="waveform"), "fp32", torch.device("cpu"))
        for encoder in (
            encoder_of(WHISPER, files),
            encoder_of(WHISPER, files, STATISTICS),
            encoder_of(front, files, of_model, **more),
        )
    )
    changed = others.pop()
    for other in (base, *others):
        ours, theirs = (
            [x.flatten().tolist() for x in part(audio) if x is not None] + [part.row_formats()]
            for part in (changed, other)
        )
        assert (changed.identity(store) == other.identity(store)) == (ours == theirs)


def test_another_file_has_another_cache(small_store: Path, files: Files, tmp_path: Path):
    store = ElementStore(small_store / "elements")
    moved, other = tmp_path / "moved.pt", tmp_path / "other.pt"
    moved.write_bytes(files["tiny"].read_bytes())
    weights_of_other = torch.load(files["tiny"])
    weights_of_other["encoder.conv1.bias"] += 1
    torch.save(weights_of_other, other)
    ours, same, theirs = (
        FrozenFront(
            encoder_of(WHISPER, {"tiny": path}), Inputs(None, audio="waveform"), "fp32", torch.device("cpu")
        ).identity(store)
        for path in (files["tiny"], moved, other)
    )
    assert ours == same
    assert ours != theirs


def test_a_run_does_not_resume_with_another_front(own_store: Path, tmp_path: Path, files: Files, stage1):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    optim = {**OPTIM, "epochs": 1}
    model = audio_model(WHISPER, files, cache=False)
    args = stage1(data={**data, "fake_tiers": ["RVFA"]}, model=model, augment={}, optim=optim)
    pretrain.main(args)
    for change, key in (
        ("--model.front.head=sls", "model.front.head"),
        ("--model.front.layers=[1]", "model.front.layers"),
        ("--model.front.rate=25", "model.front.rate"),
        ('--augment.waveform={"speed": 0.5}', "augment.waveform"),
    ):
        with pytest.raises(UserError, match=f"made with another '{key}'"):
            pretrain.main([*args, "--resume", change])


def test_a_missing_encoder_is_found_in_a_folder(stage1, tmp_path: Path, files: Files):
    moved = tmp_path / "first" / "tiny.pt"
    moved.parent.mkdir()
    moved.write_bytes(files["tiny"].read_bytes())
    model = audio_model(WHISPER, {"tiny": moved}, cache=False)
    pretrain.main(stage1(augment={}, optim={**OPTIM, "epochs": 1}, model=model))
    run = tmp_path / "runs" / "one"
    expected = load_run(run, "cpu")
    moved.unlink()
    with pytest.raises(UserError, match=r"first/tiny\.pt: no such file of weights"):
        load_run(run, "cpu")
    found = load_run(run, "cpu", [files["tiny"].parent])
    waveform = torch.randn(1, 49_152) / 10
    with torch.no_grad():
        assert torch.equal(found.model(waveform).logit, expected.model(waveform).logit)
    with pytest.raises(UserError, match="no such file"):
        detect.main(["--run", str(run), "--encoders", str(files["tiny"].parent), "nothing.wav"])


def test_embedded_weights_need_no_file(stage1, tmp_path: Path, files: Files):
    moved = tmp_path / "tiny.pt"
    moved.write_bytes(files["tiny"].read_bytes())
    model = audio_model(WHISPER, {"tiny": moved}, embed=True, cache=False)
    pretrain.main(stage1(augment={}, optim={**OPTIM, "epochs": 1}, model=model))
    moved.unlink()
    encoder = load_run(tmp_path / "runs" / "one", "cpu").model.encoder
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.front_end is not None
    start = torch.load(files["tiny"])
    ours = {f"encoder.{key}": value for key, value in encoder.front_end.state_dict().items()}
    assert all(torch.equal(start[key], ours[key]) for key in start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"front": {"train_from": 1}}, "train_from and lr_scale go together"),
        ({"front": {"arch": "xls-r-300m"}}, "arch 'xls-r-300m' is none of kind 'whisper'"),
        ({"front": {"layers": [2, 1]}}, r"layers \[2, 1\] must ascend"),
        ({"front": {"head": "sls", "layers": [1]}}, "head 'sls' weights several layers"),
        ({"input": "mel"}, "front takes the waveform"),
        ({"patches": "statistics"}, "statistics beside front are those of spectra"),
        ({"score": "fitted", "front": {"train_from": 1, "lr_scale": 0.1}}, "leave front.train_from out"),
        ({"front": {"weighting": "loudness"}}, "front.weighting is of score 'fitted'"),
    ],
)
def test_inconsistent_configs_are_refused(change: dict[str, Any], message: str, files: Files):
    values = audio_model(WHISPER, files)
    with pytest.raises(ValueError, match=message):
        AudioModelConfig.model_validate({**values, **change, "front": {**values["front"], **change.get("front", {})}})


def test_layers_beyond_the_encoder_are_refused(files: Files):
    with pytest.raises(UserError, match=r"model.front.layers \[3\]: tiny has 2 layers, and so hidden states 0 to 2"):
        encoder_of(WHISPER, files, layers=[3])
    with pytest.raises(UserError, match=r"train_from 2 is above the last of layers \[1\]"):
        encoder_of(WHISPER, files, layers=[1], train_from=2, lr_scale=0.1)
