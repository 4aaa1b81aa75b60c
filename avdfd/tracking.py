"""The folder of a run: resolved config, metrics of every epoch, TensorBoard scalars, log."""

import functools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from avdfd.checkpoint import last_files
from avdfd.config import RunConfig
from avdfd.errors import UserError
from avdfd.files import ensure_writable, write_atomic

BEST = "best.safetensors"


class RunFolder:
    """`<runs>/<name>/`: config.json, metrics.jsonl, tensorboard/, log.txt, last-*.pt, best.safetensors.

    Of several processes the `first` writes; for the others it is a name.
    """

    def __init__(self, config: RunConfig, *, resume: bool, first: bool = True) -> None:
        """Opens the folder. Raises UserError if it holds a run already and `resume` is not asked for."""
        self.path, self.first = Path(config.runs) / config.name, first
        if last_files(self.path) and not resume:
            raise UserError(f"{self.path}: holds a run already; add --resume to go on with it, or change 'name'")
        if not first:
            return
        ensure_writable(self.path)
        self.writer = SummaryWriter(str(self.path / "tensorboard"))

    def write_config(self, config: RunConfig) -> None:
        """Writes config.json, once it is known that the run goes on under this config."""
        if self.first:
            resolved = {**config.model_dump(), "git": git_revision()}
            write_atomic(self.path / "config.json", (json.dumps(resolved, indent=2) + "\n").encode())

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Records the numbers of an epoch (counted from 1)."""
        if not self.first:
            return
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def forget_after(self, epoch: int) -> None:
        """Drops recorded epochs that the checkpoint does not have: they were cut off and come again."""
        path = self.path / "metrics.jsonl"
        if self.first and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # a kill may have cut the last one off
            write_atomic(path, "".join(line for line in whole if json.loads(line)["epoch"] <= epoch).encode())

    def log(self, line: str) -> None:
        """Appends a line with the time to log.txt."""
        if self.first:
            with (self.path / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def close(self) -> None:
        if self.first:
            self.writer.close()


@functools.cache  # what has been loaded, whatever becomes of the files
def git_revision() -> str:
    """Commit of the code that runs, with '+changes' if files differ from it; 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "unknown"


def summary(values: dict[str, Any]) -> str:
    """Numbers of an epoch as one line."""
    return "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
