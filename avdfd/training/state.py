"""The end of a training step: it is taken or skipped, counted, and now and then all of the run's state is saved.

A run that was interrupted goes on as if nothing had happened: what it takes is saved after every epoch, every
`save_minutes` within one, and when a signal asks for the end. That is the model, the optimiser, torch's generators in
every process, and how far the run is, with the config and the lists it belongs to. What else there is follows from
these: the order of the samples and their augmentation from (seed, epoch, step), the learning rate from the epoch, or
from the validation losses so far. There is no gradient scaler, as bf16 needs none, and nothing in training draws from
the generators of Python and NumPy.
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

from avdfd.config import RunConfig
from avdfd.core.errors import EndedBySignal, UserError, WorkError
from avdfd.core.files import BEST
from avdfd.core.signals import Stop
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.samplers import Draw
from avdfd.splits.lists import SPLITS
from avdfd.training import checkpoint, distributed, weights
from avdfd.training.distributed import World
from avdfd.training.run_folder import RunFolder, git_revision, summary
from avdfd.training.state_dicts import fill
from avdfd.training.weights import RunFacts

BAD_BATCH = "bad_batch.pt"
FREE = {
    *("runs", "device", "workers", "home", "patience", "save_minutes", "max_bad_steps", "micro_batch"),
    *("speed", "tracking"),
}
"""Keys that may change when a run goes on: where, how fast and in how many processes it works, and who is told."""
_READ_EVERY = 16  # steps: a GPU is not to be waited for after each of them
_STOP, _SAVE = 2, 1
_SAVED = ("config", "splits", "model", "optimizer", "rng", "progress")


@dataclass
class Progress:
    """Where a run is: the epochs done, the steps done of the next one, the best value and how long ago it was."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    """Validation loss of every epoch, where it is measured."""
    step_losses: list[dict[str, float]] = field(default_factory=list)
    """Losses of the steps of this epoch that were taken."""
    skipped: int = 0
    """Steps that were not taken, as their loss or gradient was not finite."""
    skipped_in_row: int = 0

    def update(self, value: float, *, first: int = 1) -> bool:
        """Counts an epoch with this validation value; True if it is the new best. None before the `first` can be."""
        self.epoch, self.step, self.step_losses = self.epoch + 1, 0, []
        if self.epoch < first:
            return False
        improved = value > self.best
        self.best = max(value, self.best)
        self.stale = 0 if improved else self.stale + 1
        return improved

    @property
    def last_loss(self) -> float | None:
        """Of the step that was read last in this epoch: no later one is known without waiting for the device."""
        return self.step_losses[-1]["loss"] if self.step_losses else None

    def mean_losses(self) -> dict[str, float]:
        """Means over the steps of this epoch; NaN if none was taken."""
        if not self.step_losses:
            return {"loss": math.nan}
        return {name: sum(s[name] for s in self.step_losses) / len(self.step_losses) for name in self.step_losses[0]}


class Training:
    """A run's state, and what keeps it: model, optimiser, progress, folder, processes."""

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
        """`facts` are those that the kind of run adds to what is known of its weights (avdfd/training/weights.py)."""
        self.cfg, self.world, self.run = cfg, world, run
        self.model, self.optimizer, self.stop, self.facts = model, optimizer, stop, facts
        self.progress = Progress()
        self._unread: list[tuple[dict[str, Tensor], Tensor, Sequence[Draw]]] = []
        self._saved = time.monotonic()

    def restore(self, ignore: Collection[str] = ()) -> None:
        """Puts everything back to where the run was saved last; a fresh run stays as it is.

        `ignore` names sections of the config that do not concern this run. Raises UserError if no saved state is
        whole, or it is of another config or other splits.
        """
        torch.manual_seed(self.cfg.seed + (self.world.rank << 32))  # so that dropout differs between processes
        if checkpoint.last_files(self.run.path):
            self._restore(ignore)
        self.run.write_config(self.cfg)
        self.run.forget_after(self.progress.epoch)

    def _restore(self, ignore: Collection[str]) -> None:
        state, passed = checkpoint.load_last(self.run.path, self.cfg.kind, _SAVED)
        for path in passed:
            self.run.log(f"warning: {path} is damaged; going on from the one before")
        before, now = (
            {k: v for k, v in c.items() if k not in ignore} for c in (state["config"], self.cfg.model_dump())
        )
        changed = different_keys(before, now)
        if changed:
            raise UserError(
                f"{self.run.path}: made with another {changed[0]}; restore it, or change 'name' for a new run"
            )
        if state["splits"] != splits_digest(self.cfg.data.splits):
            raise UserError(
                f"{self.run.path}: the lists in {self.cfg.data.splits} have changed since it began; restore them, or "
                "change 'name' for a new run"
            )
        fill(self.model, state["model"], source=str(self.run.path))
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.run.path}: saved with another optimiser ({error}); change 'name'") from None
        if state["progress"].keys() != vars(self.progress).keys():
            raise UserError(f"{self.run.path}: saved by another version of this code; change 'name' for a new run")
        self.progress = Progress(**state["progress"])
        if len(state["rng"]) == self.world.size:
            cpu, cuda = state["rng"][self.world.rank]
            torch.set_rng_state(cpu)
            if cuda is not None and self.world.device.type == "cuda":
                torch.cuda.set_rng_state(cuda)
        else:
            self.run.log(f"warning: {len(state['rng'])} processes before, {self.world.size} now: dropout differs")

    def step(self, losses: dict[str, Tensor], norm: Tensor, batch: Sequence[Draw], elements: ElementSet) -> None:
        """Takes a step, or none, in any process, if a loss or the gradient's `norm` is not finite.

        Whether it was is looked up later, so that a GPU need not be waited for. Raises EndedBySignal if a signal came
        and all is saved, and WorkError for too many skipped steps in a row.
        """
        bad = ~(torch.isfinite(norm) & torch.isfinite(losses["loss"]))
        # The fused optimisers leave everything as it is where this is 1.
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
            self.run.log(f"{self.stop.name or 'another process'} asked for the end: saved in {where}")
            raise EndedBySignal(f"{self.run.path}: saved in {where}; run it again with --resume to go on")

    def end_epoch(self, values: dict[str, float], metric: str, elements: ElementSet) -> dict[str, float]:
        """Ends an epoch: counts it, records its numbers, and saves the model, as `best` if it is. Returns all numbers.

        The best epoch has the highest `val_<metric>`, or the lowest if the metric is the loss. The state to go on with
        is written at the very end: whatever interrupts an epoch before that, it goes on from its middle.
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
            facts = RunFacts.model_validate({"config": self.cfg, **self.facts, **place})
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
        """Looks at the steps since the last time: counts those that were taken, and lists those that were not."""
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
            self.run.log(f"skipped a step: its loss or gradient is not finite; elements {' '.join(keys)}")
            if self.progress.skipped_in_row > self.cfg.max_bad_steps:
                path = self.run.path / BAD_BATCH
                if self.world.first:
                    checkpoint.save(path, {"keys": keys, "batch": _plain(elements.batch(batch))})
                raise WorkError(
                    f"{self.run.path}: {self.progress.skipped_in_row} steps in a row without a finite loss and "
                    f"gradient, more than max_bad_steps = {self.cfg.max_bad_steps}; the last batch is in {path}, "
                    "log.txt has the keys; lower the learning rate or look at these elements"
                )


def _plain(batch: Any) -> dict[str, Any]:
    """A NamedTuple as a dictionary without classes of ours, which `weights_only` reading refuses."""
    return {name: tuple(x) if isinstance(x, tuple) else x for name, x in batch._asdict().items()}


def splits_digest(path: str) -> str:
    """A hash of the lists of a split."""
    place = Path(path)
    files = [place] if place.is_file() else [place / f"{split}.txt" for split in SPLITS]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def different_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, with both values, but for those that are FREE."""
    changed = []
    for key in sorted((old.keys() | new.keys()) - FREE):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += different_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"'{prefix}{key}' ({before} -> {after})")
    return changed
