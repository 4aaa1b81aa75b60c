"""Expansion of a search config: settings, seeds, names, and invalid configs."""

import itertools
import json

import pytest

from avdfd.config import PretrainConfig, SearchConfig, load, parse
from avdfd.core.errors import UserError
from avdfd.search.points import as_override, check_unchanged, expand


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a search over a minimal stage-1 config."""
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"kind": "pretrain", "name": "x", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}))

    def make(**values):
        values = {"kind": "search", "name": "sweep", "runs": str(tmp_path / "runs"), "config": str(base), **values}
        return parse(values, SearchConfig, "s.json")

    return make


def settings(runs):
    return [run.point.settings for run in runs]


def test_grid_has_all_combinations_with_all_seeds(make, tmp_path):
    grid = {"optim.lr": [3e-5, 1e-4], "model.input": ["mel", "mel_err"]}
    runs = expand(make(grid=grid, seeds=[0, 7], overrides={"optim.epochs": 3}), "s.json")
    pairs = [(lr, audio) for lr in (3e-5, 1e-4) for audio in ("mel", "mel_err")]
    assert [tuple(s.values()) for s in settings(runs)] == [pair for pair in pairs for _ in range(2)]
    assert [run.seed for run in runs] == [0, 7] * 4
    run = runs[-1]
    assert run.folder == tmp_path / "runs" / "sweep" / "lr0.0001-inputmel_err-seed7"
    assert (run.config.optim.lr, run.config.model.input, run.config.optim.epochs) == (1e-4, "mel_err", 3)
    assert run.config == load(tmp_path / "base.json", PretrainConfig, overrides=run.overrides)


def test_the_published_grid():
    runs = expand(load("config/search/stage2.json", SearchConfig), "config/search/stage2.json")
    assert len(runs) == 72 * 3
    found = {tuple(run.point.settings.values()) for run in runs}
    rates, depths, scales, pair = (3e-5, 1e-4), (2, 4, 6), (0, 0.05, 0.1), (0.1, 0.5)
    assert found == {*itertools.product(rates, depths, scales, pair, pair)}
    assert {run.config.select.metric for run in runs} == {"ap"}


def test_search_without_varied_keys_has_one_run_per_seed(make):
    assert [run.config.name for run in expand(make(seeds=[1, 2]), "")] == ["config-seed1", "config-seed2"]


def test_further_trials_and_keys_do_not_change_draws(make):
    random = {
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "model.depth": {"low": 2, "high": 4},
        "model.dropout": {"low": 0, "high": 1},
        "model.dim": [64, 128],
    }
    runs = expand(make(random=random, trials=200), "")
    drawn = {key: [one[key] for one in settings(runs)] for key in random}
    below = sum(lr < 10**-3.5 for lr in drawn["optim.lr"])
    assert 70 < below < 130, "about half of them are below the middle of the log range"
    assert min(drawn["optim.lr"]) >= 1e-5
    assert max(drawn["optim.lr"]) <= 1e-2
    assert all(50 < drawn["model.depth"].count(depth) < 85 for depth in (2, 3, 4))
    assert all(isinstance(depth, int) for depth in drawn["model.depth"])
    assert len({*drawn["model.dropout"]}) > 150, "a float key is drawn as a float, even between integer ends"
    assert {*drawn["model.dim"]} == {64, 128}

    assert settings(expand(make(random=random, trials=20), "")) == settings(runs)[:20]
    more = expand(make(random={"loss.margin": [0.1, 0.2], **random}, trials=20), "")
    assert [{key: one[key] for key in random} for one in settings(more)] == settings(runs)[:20]
    assert settings(expand(make(random=random, trials=20, draw_seed=1), "")) != settings(runs)[:20]


def test_equal_draws_give_one_setting(make):
    assert len(expand(make(random={"model.depth": [1, 2]}, trials=30), "")) == 2


def test_names_of_runs(make):
    def names(**grid):
        return [run.config.name for run in expand(make(grid=grid), "")]

    assert names(**{"optim.warmup_epochs": [0], "loss.margin": [0.1]}) == ["warmup_epochs0-margin0.1-seed0"]
    assert names(**{"model.dropout": [0.0], "model.dim": [4]}) == ["dropout0-dim4-seed0"]
    path, other = names(**{"data.elements": ["a/b c", "a/b+c"]})
    assert path.startswith("elementsa_b_c-")
    assert other.startswith("elementsa_b+c-")
    long = names(**{"data.elements": ["x" * 300, "x" * 301]})
    assert len({*long}) == 2
    assert all(len(name) < 150 for name in long)


def test_nested_sections_are_read_like_dotted_keys(make, tmp_path):
    path = tmp_path / "s.json"
    path.write_text(make(grid={"optim.lr": [1.0, 2.0]}).model_dump_json())
    cfg = load(path, SearchConfig, overrides=["--grid.optim.lr=[3e-5]", "--overrides.data.workers=0"])
    assert cfg.grid == {"optim.lr": [3e-5]}
    assert cfg.overrides == {"data.workers": 0}
    nested = make(random={"optim": {"lr": {"low": 1e-5, "high": 1.0}, "epochs": [1, 2]}}, trials=1)
    assert nested.random["optim.lr"].high == 1.0
    assert nested.random["optim.epochs"].choices == [1, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": {"optim.lrr": [1.0]}}, "s.json: lrr1: unknown key 'optim.lrr': did you mean 'optim.lr'?"),
        ({"overrides": {"optim.lrr": 1.0}}, "s.json: config: unknown key 'optim.lrr': did you mean 'optim.lr'?"),
        ({"random": {"optim.lrr": {"low": 1, "high": 2}}, "trials": 1}, "unknown key 'optim.lrr'"),
        ({"grid": {"optim.lr": [1.0, -1]}}, "s.json: lr-1: key 'optim.lr' is -1: input should be greater than 0"),
        ({"grid": {"model.dim": [64, 30]}}, "s.json: dim30: model: dim 30 must be a multiple of heads 4"),
        ({"grid": {"optim.lr": [1, 1.0]}}, "s.json: grid has lr1 twice"),
        ({"grid": {"optim.lr": []}}, "key 'grid.optim.lr' is "),
        ({"grid": {"seed": [1]}}, "seed is set by the search: leave it out, and use seeds"),
        ({"overrides": {"name": "x"}}, "name is set by the search"),
        ({"grid": {"data.splits": ["a", "b"]}}, "data.splits changes what is measured"),
        ({"grid": {"optim.lr": [1.0]}, "overrides": {"optim.lr": 2.0}}, "optim.lr is both varied and overridden"),
        ({"grid": {"optim.lr": [1.0]}, "random": {"loss.margin": [1]}, "trials": 1}, "grid and random exclude"),
        ({"random": {"loss.margin": [1]}}, "random needs trials"),
        ({"seeds": [1, 1]}, "seeds has one of them twice"),
        ({"seeds": []}, "key 'seeds' is "),
        ({"random": {"optim.lr": {"low": 2, "high": 1}}, "trials": 1}, "low below high"),
        ({"random": {"optim.lr": {"low": 0, "high": 1, "log": True}}, "trials": 1}, "log needs low above 0"),
        ({"random": {"optim.lr": {"low": 0, "high": 1, "choices": [1]}}, "trials": 1}, "or from a list"),
        ({"random": {"model.input": {"low": 0, "high": 1}}, "trials": 1}, "model.input takes no number: draw it from"),
        ({"random": {"data.balance_tiers": {"low": 0, "high": 1}}, "trials": 1}, "balance_tiers takes no number"),
        ({"trails": 3}, "unknown key 'trails': did you mean 'trials'?"),
    ],
)  # fmt: skip
def test_invalid_searches_are_rejected(make, values, message):
    with pytest.raises(UserError) as error:
        expand(make(**values), "s.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_run_folder_with_other_settings_is_rejected(make):
    (run,) = expand(make(overrides={"optim.lr": 1e-4}), "")
    check_unchanged([run])
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text(json.dumps({**run.config.model_dump(), "git": "abc"}))
    check_unchanged([run])
    (elsewhere,) = expand(make(overrides={"optim.lr": 1e-4, "device": "cpu", "data.workers": 1}), "")
    check_unchanged([elsewhere])
    (other,) = expand(make(overrides={"optim.lr": 2e-4}), "")
    with pytest.raises(UserError, match=r"config-seed0: made with another 'optim\.lr' \(0.0001 -> 0.0002\)"):
        check_unchanged([other])


@pytest.mark.parametrize("value", [1, 1.5e-7, True, None, "mel", "1", "true", "a b=c", [1, "x"]])
def test_overrides_are_parsed_to_the_same_value(value, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"kind": "search", "name": "x", "config": "c"}))
    assert load(path, SearchConfig, overrides=[as_override("overrides.k", value)]).overrides == {"k": value}
