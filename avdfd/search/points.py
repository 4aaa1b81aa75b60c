"""What a search config stands for: every setting with every seed, checked before anything runs."""

import itertools
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import RUNS, DrawConfig, RunConfig, SearchConfig, load
from avdfd.core.errors import UserError
from avdfd.training.state import different_keys

Settings = dict[str, Any]

_LONGEST = 120  # letters of a name: file systems take 255 bytes, and the seed and a stage come after it
_DIGITS = 4  # of numbers that are drawn, so that a name has all of them


class Point(NamedTuple):
    """One setting of what is varied."""

    name: str
    settings: Settings
    """Value of each varied key, dotted."""


class Run(NamedTuple):
    """One setting with one seed: a run of the training script."""

    point: Point
    seed: int
    config: RunConfig
    overrides: list[str]
    """What makes `config` out of the file that the search names."""

    @property
    def folder(self) -> Path:
        return Path(self.config.runs) / self.config.name


def expand(cfg: SearchConfig, source: str) -> list[Run]:
    """All runs of a search, seed by seed of each setting.

    `source` is the search's own file, for errors. Raises UserError for a setting that the training config does not
    take, so that no run finds that out.
    """
    base = load(cfg.config, *RUNS.values())
    settings = _drawn(cfg, base, source) if cfg.random else _grid(cfg)
    points: dict[str, Point] = {}
    for one in settings:
        point = Point(name_of(one), one)
        if point.name in points and cfg.grid:
            raise UserError(f"{source}: grid has {point.name} twice; leave one of the equal values out")
        points[point.name] = point
    root, model = Path(cfg.runs) / cfg.name, RUNS[base.kind]
    return [
        run_of(cfg.config, model, root, point, {**cfg.overrides, **point.settings}, seed, f"{source}: {point.name}")
        for point in points.values()
        for seed in cfg.seeds
    ]


def check_unchanged(runs: list[Run]) -> None:
    """Raises UserError if a run folder is there and was made with other settings than it would be made with now."""
    for run in runs:
        path = run.folder / "config.json"
        if not path.exists():
            continue
        before = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key != "git"}
        changed = different_keys(before, run.config.model_dump())
        if changed:
            raise UserError(
                f"{run.folder}: made with another {changed[0]}; restore it, remove the folder, or change 'name'"
            )


def as_override(key: str, value: Any) -> str:
    """`--key=value` as the configs read it."""
    plain = isinstance(value, str) and not _is_json(value)
    return f"--{key}={value if plain else json.dumps(value)}"


def run_of(
    base: str, model: type[RunConfig], root: Path, point: Point, changes: Settings, seed: int, source: str
) -> Run:
    """A run below `root`: the config `base` of this model with all `changes`.

    Raises UserError that names `source` for one that it does not take.
    """
    changes = {**changes, "seed": seed, "runs": str(root), "name": f"{point.name}-seed{seed}"}
    overrides = [as_override(key, value) for key, value in changes.items()]
    return Run(point, seed, load(base, model, overrides=overrides, source=source), overrides)


def _grid(cfg: SearchConfig) -> Iterator[Settings]:
    """All combinations; the last key changes fastest."""
    for values in itertools.product(*cfg.grid.values()):
        yield dict(zip(cfg.grid, values, strict=True))


def _drawn(cfg: SearchConfig, base: RunConfig, source: str) -> Iterator[Settings]:
    """Random settings. A value depends on the seed, its key and the number of the trial alone: more trials or another
    key leave it as it is."""
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
    # Integers get room for both ends: 2 to 4 are three values, as wide as each other.
    low, high = (draw.low - 0.5, draw.high + 0.5) if isinstance(default, int) else (draw.low, draw.high)
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if draw.log else rng.uniform(low, high)
    if isinstance(default, int):
        return round(min(max(value, draw.low), draw.high))
    return float(f"{value:.{_DIGITS}g}")


def _default(base: RunConfig, key: str) -> Any:
    """What the training config has for a dotted key; for a key that it does not know a number, so that the draw goes
    on to where unknown keys are named."""
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
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
