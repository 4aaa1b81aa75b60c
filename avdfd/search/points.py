"""Expansion of a search config into runs: every setting with every seed, checked before any of them starts."""

import itertools
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import RUNS, DrawConfig, RunConfig, SearchConfig, load, parse_saved
from avdfd.config.changes import different_keys
from avdfd.core.errors import UserError
from avdfd.core.text import parse_json, read_json

Settings = dict[str, Any]

_LONGEST = 120  # characters of a name: file systems allow 255 bytes, and seed and stage are appended
_DIGITS = 4  # significant digits of drawn numbers, so that a name shows all of them


class Point(NamedTuple):
    """One setting of the varied keys."""

    name: str
    settings: Settings
    """Value of each varied key, dotted."""


class Run(NamedTuple):
    """One run of the training script: a setting with a seed."""

    point: Point
    seed: int
    config: RunConfig
    overrides: list[str]
    """Overrides that turn the config file that the search names into `config`."""

    @property
    def folder(self) -> Path:
        return Path(self.config.runs) / self.config.name


def expand(cfg: SearchConfig, source: str) -> list[Run]:
    """Return all runs of a search: for each setting, one per seed.

    `source` is the search's own file, for errors. Raises UserError for a setting that the training config does not
    have, before any run starts.
    """
    base = load(cfg.config, *RUNS.values())
    settings = _drawn(cfg, base, source) if cfg.random else _grid(cfg)
    points: dict[str, Point] = {}
    for one in settings:
        point = Point(name_of(one), one)
        if point.name in points and cfg.grid:
            raise UserError(f"{source}: grid has {point.name} twice; remove one of the equal values")
        points[point.name] = point
    root, model = Path(cfg.runs) / cfg.name, RUNS[base.kind]
    return [
        run_of(cfg.config, model, root, point, {**cfg.overrides, **point.settings}, seed, f"{source}: {point.name}")
        for point in points.values()
        for seed in cfg.seeds
    ]


def check_unchanged(runs: list[Run]) -> None:
    """Raise UserError if the folder of a run exists and was made with other settings."""
    for run in runs:
        path = run.folder / "config.json"
        if not path.exists():
            continue
        values = {key: value for key, value in read_json(path).items() if key != "git"}
        before = parse_saved(values, type(run.config), source=str(path))
        changed = different_keys(before.model_dump(), run.config.model_dump())
        if changed:
            raise UserError(
                f"{run.folder}: made with another {changed[0]}; restore it, remove the folder, or change 'name'"
            )


def as_override(key: str, value: Any) -> str:
    """Return `--key=value` in the form that configs parse."""
    plain = isinstance(value, str) and not _is_json(value)
    return f"--{key}={value if plain else json.dumps(value)}"


def run_of(
    base: str, model: type[RunConfig], root: Path, point: Point, changes: Settings, seed: int, source: str
) -> Run:
    """Return a run below `root` whose config is the file `base`, of type `model`, with all `changes`.

    Raises UserError that names `source` for a change that the config does not have.
    """
    changes = {**changes, "seed": seed, "runs": str(root), "name": f"{point.name}-seed{seed}"}
    overrides = [as_override(key, value) for key, value in changes.items()]
    return Run(point, seed, load(base, model, overrides=overrides, source=source), overrides)


def _grid(cfg: SearchConfig) -> Iterator[Settings]:
    """Yield all combinations; the last key changes fastest."""
    for values in itertools.product(*cfg.grid.values()):
        yield dict(zip(cfg.grid, values, strict=True))


def _drawn(cfg: SearchConfig, base: RunConfig, source: str) -> Iterator[Settings]:
    """Yield random settings.

    A value depends on the draw seed, its key and the trial number only, so that further trials or keys do not change
    it.
    """
    for trial in range(cfg.trials):
        yield {
            key: _draw(draw, _default(base, key), [cfg.draw_seed, trial, zlib.crc32(key.encode())], f"{source}: {key}")
            for key, draw in cfg.random.items()
        }


def _draw(draw: DrawConfig, default: Any, seed: list[int], source: str) -> Any:
    rng = np.random.default_rng(seed)
    if draw.choices is not None:
        return draw.choices[int(rng.integers(len(draw.choices)))]
    assert draw.low is not None, "the config has checked it"
    assert draw.high is not None, "the config has checked it"
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise UserError(f"{source} takes no number: draw it from a list")
    # Half a unit at each end makes all integers equally likely: 2 to 4 are three values.
    low, high = (draw.low - 0.5, draw.high + 0.5) if isinstance(default, int) else (draw.low, draw.high)
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if draw.log else rng.uniform(low, high)
    if isinstance(default, int):
        return round(min(max(value, draw.low), draw.high))
    return float(f"{value:.{_DIGITS}g}")


def _default(base: RunConfig, key: str) -> Any:
    """Return the training config's value of a dotted key.

    An unknown key gets a number, so that it can be drawn and then be reported as unknown.
    """

    value: Any = base
    for part in key.split("."):
        value = getattr(value, part, 0.0)
    return value


def name_of(settings: Settings) -> str:
    """A folder's name that says the setting: `lr3e-05-depth2`. Equal settings have equal names in every search, so that
    a search that grows finds its former runs."""
    short = {key: key.rpartition(".")[2] for key in settings}
    if len({*short.values()}) < len(short):
        short = {key: key for key in settings}
    exact = "-".join(short[key] + _text(value) for key, value in settings.items()) or "config"
    name = re.sub(r"[^\w.+-]+", "_", exact)
    if name == exact and len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{zlib.crc32(exact.encode()):08x}"


def _text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value)


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return False
    return True
