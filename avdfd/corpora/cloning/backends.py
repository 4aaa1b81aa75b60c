"""Back ends of voice conversion: WORLD in this process, Seed-VC and other programs in their own processes."""

import functools
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from avdfd.config import CommandConfig, SeedVcConfig, WorldConfig
from avdfd.core.errors import UserError
from avdfd.core.workers import count_or_cores
from avdfd.corpora.cloning import programs, world_backend
from avdfd.corpora.cloning.exchange import hand_over, take_back
from avdfd.corpora.cloning.request import Convert, Request
from avdfd.corpora.cloning.seed_vc import SeedVc, devices, driver

Config = WorldConfig | SeedVcConfig | CommandConfig

_CHECK_LIMIT = 300.0  # seconds: importing a large library from a network drive is slow


def check_backend(cfg: Config) -> None:
    """Raise UserError if the program, checkout or environment of a back end is missing."""
    if cfg.kind == "command" and shutil.which(cfg.command[0]) is None:
        raise UserError(f"backend.command: no program '{cfg.command[0]}'; give its path")
    if cfg.kind == "seed-vc":
        if not (Path(cfg.checkout) / "inference_v2.py").is_file():
            raise UserError(f"backend.checkout: {cfg.checkout} has no inference_v2.py; clone Plachtaa/seed-vc there")
        for key in ("ar_checkpoint", "cfm_checkpoint"):
            if (file := getattr(cfg, key)) and not Path(file).is_file():
                raise UserError(f"backend.{key}: {file}: no such file")
        _check_python(cfg.python)


def processes(cfg: Config, workers: int) -> int:
    """Return the number of worker processes; with 0 workers, one per core, or per GPU for Seed-VC."""
    if cfg.kind == "seed-vc":
        return min(workers or len(devices(cfg)), len(devices(cfg)))
    return count_or_cores(workers)


def settings_of(cfg: Config, turn: int, seed: int) -> dict[str, float]:
    """Return the settings of a candidate: drawn from its seed for WORLD, the guidances in turn for Seed-VC."""
    if cfg.kind == "world":
        return asdict(world_backend.draw_settings(cfg, seed))
    if cfg.kind == "seed-vc":
        intelligibility, similarity = cfg.guidance[turn % len(cfg.guidance)]
        return {"intelligibility_cfg_rate": intelligibility, "similarity_cfg_rate": similarity}
    return {}


def open_backend(cfg: Config, folder: Path, time_limit: float) -> Convert:
    """Open a back end with its files in `folder`. A conversion that takes longer than `time_limit` s is killed."""
    if cfg.kind == "world":
        return world_backend.convert
    if cfg.kind == "seed-vc":
        return SeedVc(cfg, folder, time_limit)
    return functools.partial(_by_command, cfg=cfg, folder=folder, time_limit=time_limit)


def _by_command(request: Request, cfg: CommandConfig, folder: Path, time_limit: float) -> np.ndarray:
    paths = hand_over(request, folder)
    command = programs.filled(cfg.command, {**paths, "seed": str(request.seed)})
    programs.run(command, time_limit, folder / "log.txt")
    return take_back(paths)


def _check_python(python: str) -> None:
    if shutil.which(python) is None:
        raise UserError(f"backend.python: no program '{python}'; give the python of seed-vc's environment")
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            [*driver(python), "--check"], capture_output=True, text=True, timeout=_CHECK_LIMIT, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"backend.python: {python} lacks what seed-vc needs ({last}); install its requirements.txt")
