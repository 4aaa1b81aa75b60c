"""Training state: optimiser steps, checkpointing and resume.

An interrupted run resumes to the same result as an uninterrupted one. Its state is saved after every epoch, every
`save_minutes` within one, and when a signal stops the run. The state is the model, the optimiser, torch's generators in
every process and the progress, with the config and a digest of the split lists. Everything else follows from these: the
order of samples and their augmentation from (seed, epoch, step), the learning rate from the epoch or the validation
losses so far. bf16 needs no gradient scaler, and training draws nothing from the generators of Python and NumPy.
"""

import hashlib
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from avdfd.config import RunConfig, parse_saved
from avdfd.config.changes import different_keys
from avdfd.core.errors import EndedBySignal, UserError, WorkError
from avdfd.core.files import BEST
from avdfd.core.revision import git_revision
from avdfd.core.signals import Stop
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.samplers import Draw
from avdfd.elements.layout import media_of
from avdfd.splits.lists import SPLITS
from avdfd.training import checkpoint, distributed, weights
from avdfd.training.distributed import World
from avdfd.training.run_folder import RunFolder, summary
from avdfd.training.saved_state import check_generators, check_optimizer, check_progress
from avdfd.training.state_dicts import fill
from avdfd.training.weights import RunFacts

BAD_BATCH = "bad_batch.pt"
_READ_EVERY = 16  # steps, as reading losses waits for the GPU
_STOP, _SAVE = 2, 1
_SAVED = ("config", "splits", "model", "optimizer", "rng", "progress")


@dataclass
class Progress:
    """Progress of a run: finished epochs, finished steps of the next one, the best value and the epochs since then."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    """Validation loss of every epoch, if it is measured."""
    step_losses: list[dict[str, float]] = field(default_factory=list)
    """Losses of this epoch's steps, without the skipped ones."""
    skipped: int = 0
    """Steps skipped because their loss or gradient was not finite."""
    skipped_in_row: int = 0

    def update(self, value: float, *, first: int = 1) -> bool:
        """Count an epoch with this validation value; return True if it is the best so far and not before `first`."""
        self.epoch, self.step, self.step_losses = self.epoch + 1, 0, []
        if self.epoch < first:
            return False
        improved = value > self.best
        self.best = max(value, self.best)
        self.stale = 0 if improved else self.stale + 1
        return improved

    @property
    def last_loss(self) -> float | None:
        """Loss of the last step that was read in this epoch; later ones would need to wait for the device."""
        return self.step_losses[-1]["loss"] if self.step_losses else None

    def mean_losses(self) -> dict[str, float]:
        """Return the mean losses over the steps of this epoch; NaN if all were skipped."""
        if not self.step_losses:
            return {"loss": math.nan}
        return {name: sum(s[name] for s in self.step_losses) / len(self.step_losses) for name in self.step_losses[0]}


class Training:
    """State of a run: model, optimiser, progress, folder, processes."""

    def __init__(
        self,
        cfg: RunConfig,
        world: World,
        run: RunFolder,
        model: nn.Module,
        optimizer: Optimizer,
        stop: Stop,
        **facts: Any,
    ) -> None:
        """`facts` are added to those saved with the weights, by kind of run (avdfd/training/weights.py)."""
        self.cfg, self.world, self.run = cfg, world, run
        self.model, self.optimizer, self.stop, self.facts = model, optimizer, stop, facts
        self.media = media_of(cfg.data.elements)
        self.progress = Progress()
        self._unread: list[tuple[dict[str, Tensor], Tensor, Sequence[Draw]]] = []
        self._saved = time.monotonic()

    def restore(self, ignore: Collection[str] = ()) -> None:
        """Restore the state that was saved last; a new run stays unchanged.

        `ignore` names sections of the config that do not concern this run. Raises UserError if no saved state is
        intact, or if it has another config or other splits.
        """
        torch.manual_seed(self.cfg.seed + (self.world.rank << 32))  # so that dropout differs between processes
        if checkpoint.last_files(self.run.path):
            self._restore(ignore)
        self.run.write_config(self.cfg)
        self.run.forget_after(self.progress.epoch)

    def _restore(self, ignore: Collection[str]) -> None:
        state, passed = checkpoint.load_last(self.run.path, self.cfg.kind, _SAVED)
        for path in passed:
            self.run.log(f"warning: {path} is damaged; resuming from the one before")
        before = parse_saved(state["config"], type(self.cfg), source=str(self.run.path))
        refuse_other_config(self.run.path, before, self.cfg, ignore)
        if state["splits"] != splits_digest(self.cfg.data.splits):
            raise UserError(
                f"{self.run.path}: the lists in {self.cfg.data.splits} have changed since the run began; restore them, "
                "or change 'name' for a new run"
            )
        source = str(self.run.path)
        check_progress(state["progress"], vars(self.progress), source)
        check_generators(state["rng"], source)
        check_optimizer(self.optimizer, state["optimizer"], source)
        fill(self.model, state["model"], source=source)
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        if len(state["rng"]) == self.world.size:
            cpu, cuda = state["rng"][self.world.rank]
            torch.set_rng_state(cpu)
            if cuda is not None and self.world.device.type == "cuda":
                torch.cuda.set_rng_state(cuda)
        else:
            self.run.log(f"warning: {len(state['rng'])} processes before, {self.world.size} now: dropout differs")

    def step(self, losses: dict[str, Tensor], norm: Tensor, batch: Sequence[Draw], elements: ElementSet) -> None:
        """Take an optimiser step, which all processes skip if the loss or the gradient's `norm` is not finite.

        Skipped steps are counted later, so that nothing waits for a GPU here. Saves the state if it is time to, or
        after a signal. Raises EndedBySignal once it is saved after a signal, and WorkError after too many skipped steps
        in a row.
        """
        bad = ~(torch.isfinite(norm) & torch.isfinite(losses["loss"]))
        # Fused optimisers skip the step if this is 1.
        self.optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self._unread.append((losses, bad, batch))
        if len(self._unread) == _READ_EVERY:
            self._read(elements)
        late = time.monotonic() - self._saved > 60 * self.cfg.save_minutes
        request = distributed.all_reduce_max(self.world, _STOP if self.stop.asked else _SAVE if late else 0)
        if request:
            self._read(elements)
            self._save()
        if request == _STOP:
            where = f"epoch {self.progress.epoch + 1}, step {self.progress.step}"
            self.run.log(f"{self.stop.name or 'another process'} stopped the run: saved in {where}")
            raise EndedBySignal(f"{self.run.path}: saved in {where}; run it again with --resume to continue")

    def end_epoch(self, values: dict[str, float], metric: str, elements: ElementSet) -> dict[str, float]:
        """End an epoch: count it, record its values, save the weights if they are the best, and the state. Return all
        values.

        The best epoch has the highest `val_<metric>`, or the lowest if the metric is the loss. The state is saved last:
        an epoch that is interrupted before resumes within it.
        """
        self._read(elements)
        values = {**self.progress.mean_losses(), **values}
        if self.progress.skipped:
            values["skipped_steps"] = float(self.progress.skipped)
        value = values[f"val_{metric}"]
        is_best = self.progress.update(-value if metric == "loss" else value, first=self.cfg.select.first_epoch)
        if "val_loss" in values:
            self.progress.losses.append(values["val_loss"])
        self.run.epoch(self.progress.epoch, values)
        self.run.log(f"epoch {self.progress.epoch}: {summary(values)}{'  best' if is_best else ''}")
        if is_best and self.world.first:
            place = {"epoch": self.progress.epoch, "metric": f"val_{metric}", "value": value, "git": git_revision()}
            facts = RunFacts.model_validate({"config": self.cfg, **self.facts, **place, "media": self.media})
            weights.save(self.run.path / BEST, self.model.state_dict(), facts)
        self._save()
        return values

    def _save(self) -> None:
        cuda = torch.cuda.get_rng_state() if self.world.device.type == "cuda" else None
        rng = distributed.collect(self.world, (torch.get_rng_state(), cuda))
        if self.world.first:
            state = {
                "config": self.cfg.model_dump(),
                "splits": splits_digest(self.cfg.data.splits),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rng": rng,
                "progress": vars(self.progress),
            }
            checkpoint.save_last(self.run.path, state, epoch=self.progress.epoch, step=self.progress.step)
        self._saved = time.monotonic()

    def _read(self, elements: ElementSet) -> None:
        """Read the losses of the steps since the last call; count the steps, and log the skipped ones."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        names = [*unread[0][0]]
        table = torch.stack([torch.stack([*losses.values(), bad]) for losses, bad, _ in unread]).tolist()
        for (*values, bad), (_, _, batch) in zip(table, unread, strict=True):
            if not bad:
                self.progress.step_losses.append(dict(zip(names, values, strict=True)))
                self.progress.skipped_in_row = 0
                continue
            self.progress.skipped += 1
            self.progress.skipped_in_row += 1
            keys = [elements.metas[draw.position].key for draw in batch]
            culprits = elements.not_finite(batch)
            self.run.log(
                f"skipped a step: the inputs of {', '.join(culprits)} are not finite"
                if culprits
                else f"skipped a step: its loss or gradient is not finite; elements {' '.join(keys)}"
            )
            if self.progress.skipped_in_row > self.cfg.max_bad_steps:
                path = self.run.path / BAD_BATCH
                if self.world.first:
                    checkpoint.save(path, {"keys": keys, "batch": _plain(elements.batch(batch))})
                raise WorkError(
                    f"{self.run.path}: {self.progress.skipped_in_row} steps in a row without a finite loss and "
                    f"gradient, more than max_bad_steps = {self.cfg.max_bad_steps}; the last batch is in {path}, "
                    + (
                        f"in which the inputs of {', '.join(culprits)} are not finite: make these elements again"
                        if culprits
                        else "log.txt has the keys, and all inputs are finite: lower the learning rate"
                    )
                )


def _plain(batch: Any) -> dict[str, Any]:
    """Convert a NamedTuple to a dictionary of plain types, as torch.load(weights_only=True) refuses other classes."""
    return {name: tuple(x) if isinstance(x, tuple) else x for name, x in batch._asdict().items()}


def splits_digest(path: str) -> str:
    """Return the sha256 of a split's lists."""
    place = Path(path)
    files = [place] if place.is_file() else [place / f"{split}.txt" for split in SPLITS]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def refuse_other_config(run: Path, before: RunConfig, now: RunConfig, ignore: Collection[str] = ()) -> None:
    """Raise UserError if a run was made with another config, apart from sections to ignore."""
    saved, current = ({k: v for k, v in cfg.model_dump().items() if k not in ignore} for cfg in (before, now))
    if changed := different_keys(saved, current):
        raise UserError(f"{run}: made with another {changed[0]}; restore it, or change 'name' for a new run")
