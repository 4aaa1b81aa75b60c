"""The folder of a run: resolved config, metrics per epoch, examples, TensorBoard, log; and Weights & Biases."""

import importlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
from torch import Tensor

from avdfd.config import RunConfig
from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, lock_for_process, naming, write_atomic
from avdfd.core.revision import git_revision
from avdfd.elements import ElementMeta
from avdfd.features.mel import log_mel
from avdfd.training.checkpoint import last_files
from avdfd.training.examples import Example, draw

EXAMPLES = "examples.png"
_TENSORBOARD = "tensorboard"
_LOCK = ".lock"
_WANDB_ID = "wandb.id"
_SHOWN = 8  # examples


class RunFolder:
    """`<runs>/<name>/`: config.json, metrics.jsonl, examples.png, tensorboard/, log.txt, last-*.pt, best.safetensors.

    Of several processes the `first` writes, and locks the folder until it ends; the others only know its path.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        resume: bool,
        first: bool = True,
        console: Callable[[str], object] = lambda line: None,
    ) -> None:
        """Open the folder. `console` is called with every announced line: the `print` of a script.

        Raises UserError if it holds a run already and `resume` is False, if another process writes to it, or if Weights
        & Biases is configured and not installed.
        """
        self.path, self.first, self.console = Path(config.runs) / config.name, first, console
        if last_files(self.path) and not resume:
            raise UserError(f"{self.path}: holds a run already; add --resume to continue it, or change 'name'")
        if not first:
            return
        self._wandb: Any = _package() if config.tracking.wandb else None
        self._wandb_run: Any = None
        ensure_writable(self.path)
        self._lock = lock_for_process(self.path / _LOCK, self.path)
        with naming(self.path / _TENSORBOARD):
            from torch.utils.tensorboard import SummaryWriter  # here, so that a wrong request is answered sooner

            self.writer = SummaryWriter(str(self.path / _TENSORBOARD))
        self._to_show = not (self.path / EXAMPLES).exists()

    def write_config(self, config: RunConfig) -> None:
        """Write config.json, once the run is known to match this config."""
        if not self.first:
            return
        resolved = {**config.model_dump(), "git": git_revision()}
        write_atomic(self.path / "config.json", (json.dumps(resolved, indent=2) + "\n").encode())
        if self._wandb is not None:
            place = {"project": config.tracking.wandb, "name": config.name, "dir": str(self.path)}
            # A resumed run continues the same one there: epochs that are logged again have the same values.
            former = {"id": self._wandb_id(), "resume": "allow", "allow_val_change": True}
            self._wandb_run = self._wandb.init(**place, **former, config=resolved)

    def _wandb_id(self) -> str:
        path = self.path / _WANDB_ID
        if not path.exists():
            write_atomic(path, f"{secrets.token_hex(4)}\n".encode())
        return path.read_text(encoding="utf-8").strip()

    def show(self, audio: Tensor | None, video: Tensor | None, metas: Iterable[ElementMeta]) -> None:
        """Save example inputs of the model, once per run, from the first batch that has audio: cached ones have none.

        audio (B, bins, frames), or (B, 49152), of which the mel is drawn; video (B, 3, T, S, S) uint8; metas of the B
        elements.
        """
        if audio is None or not self.first or not self._to_show:
            return
        self._to_show = False
        shown = audio[:_SHOWN].float().cpu()
        spectrograms = (log_mel(shown) if shown.ndim == 2 else shown).numpy()
        clips = [None] * len(shown) if video is None else [*video[:_SHOWN].permute(0, 2, 3, 4, 1).cpu().numpy()]
        captions = [f"{meta.tier}, {'fake' if meta.window.label else 'real'}" for meta in metas]
        image = draw([Example(*row) for row in zip(captions, spectrograms, clips, strict=False)])
        with naming(self.path / _TENSORBOARD):
            self.writer.add_image("examples", image, dataformats="HWC")
        if self._wandb_run is not None:
            self._wandb_run.log({"examples": self._wandb.Image(image)}, commit=False)  # goes with the next epoch
        write_atomic(self.path / EXAMPLES, cv2.imencode(".png", image[..., ::-1])[1].tobytes())

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Record the values of an epoch (counted from 1)."""
        if not self.first:
            return
        self._append("metrics.jsonl", json.dumps({"epoch": epoch, **values}))
        with naming(self.path / _TENSORBOARD):
            for name, value in values.items():
                self.writer.add_scalar(name, value, epoch)
            self.writer.flush()
        if self._wandb_run is not None:
            self._wandb_run.log(values, step=epoch)

    def forget_after(self, epoch: int) -> None:
        """Drop recorded epochs that come after the checkpoint: they are trained again."""
        path = self.path / "metrics.jsonl"
        if self.first and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # a kill may have truncated the last one
            write_atomic(path, "".join(line for line in whole if json.loads(line)["epoch"] <= epoch).encode())

    def log(self, line: str) -> None:
        """Append a line with the time to log.txt."""
        if self.first:
            self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def _append(self, name: str, line: str) -> None:
        with naming(self.path / name), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def announce(self, line: str) -> None:
        """Log a line and, in the first process, show it on the console."""
        self.log(line)
        if self.first:
            self.console(line)

    def close(self) -> None:
        if self.first:
            with naming(self.path / _TENSORBOARD):
                self.writer.close()
            if self._wandb_run is not None:
                self._wandb_run.finish()
            self._lock.close()


def _package() -> Any:
    """Import Weights & Biases, which is optional. Raises UserError if it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ImportError:
        raise UserError(
            "tracking.wandb: the package is not installed; .venv/bin/pip install wandb, or set the key to null"
        ) from None


def summary(values: dict[str, Any]) -> str:
    """Format the values of an epoch as one line."""
    return "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
