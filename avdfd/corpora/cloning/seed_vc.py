"""Seed-VC version 2 from the user's checkout; `seed_vc_driver.py` runs in its own environment.

References: Liu, "Zero-shot voice conversion with diffusion transformers", arXiv:2411.09943; entry points
`load_v2_models` and `convert_voice_v2` of inference_v2.py. The latter streams: a long source is converted in segments.
"""

import fcntl
import json
import os
import selectors
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from avdfd.config import SeedVcConfig
from avdfd.core.workers import cause
from avdfd.corpora.cloning import programs
from avdfd.corpora.cloning.exchange import hand_over, take_back
from avdfd.corpora.cloning.request import ConversionError, Request

_DRIVER = Path(__file__).with_name("seed_vc_driver.py")


def devices(cfg: SeedVcConfig) -> list[str]:
    """Return the GPUs to use, named as in CUDA_VISIBLE_DEVICES."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return cfg.gpus or visible or ["0"]


def arguments(cfg: SeedVcConfig) -> dict[str, Any]:
    """Return the arguments of inference_v2.py."""
    intelligibility, similarity = cfg.guidance[0]
    return {
        "diffusion_steps": cfg.diffusion_steps,
        "length_adjust": cfg.length_adjust,
        "intelligibility_cfg_rate": intelligibility,
        "similarity_cfg_rate": similarity,
        "top_p": cfg.top_p,
        "temperature": cfg.temperature,
        "repetition_penalty": cfg.repetition_penalty,
        "convert_style": cfg.convert_style,
        "anonymization_only": False,
        "compile": False,
        "ar_checkpoint_path": _absolute(cfg.ar_checkpoint),
        "cfm_checkpoint_path": _absolute(cfg.cfm_checkpoint),
    }


def driver(python: str) -> list[str]:
    """Return the command that runs the driver in an environment, isolated from the paths of this one."""
    return [os.path.abspath(shutil.which(python) or python), "-I", str(_DRIVER)]


class SeedVc:
    """Back end whose process uses one GPU. It starts with the first conversion, and again after a failed one.

    If the models cannot be loaded the first time, all conversions fail for that reason.
    """

    def __init__(self, cfg: SeedVcConfig, folder: Path, time_limit: float) -> None:
        self.cfg, self.folder, self.time_limit = cfg, folder, time_limit
        self._gpu: tuple[str, IO[str]] | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._loaded = False
        self._cannot: ConversionError | None = None

    def __call__(self, request: Request) -> np.ndarray:
        if self._cannot is not None:
            raise self._cannot
        paths = hand_over(request, self.folder)
        if self._program is None:
            self._start()
        self._ask({**paths, "seed": request.seed, "settings": dict(request.settings)}, self.time_limit)
        return take_back(paths)

    def _start(self) -> None:
        if self._gpu is None:
            self._gpu = _free_gpu(devices(self.cfg), self.folder.parent)
        with self._log.open("wb") as errors:
            self._program = programs.start(
                driver(self.cfg.python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.cfg.checkout,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": self._gpu[0]},
            )
        try:
            self._ask({"settings": arguments(self.cfg)}, self.cfg.load_limit)
        except ConversionError as error:
            self._cannot = None if self._loaded else error
            raise
        self._loaded = True

    def _ask(self, request: dict[str, Any], time_limit: float) -> None:
        """Send a line and wait for the answer. On failure, end the process and raise ConversionError."""
        program = self._program
        assert program is not None
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            program.stdin.write(json.dumps(request).encode() + b"\n")
            program.stdin.flush()
            line = _read_line(program.stdout, time_limit)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._end()
            raise ConversionError(f"seed-vc took longer than {time_limit:g} s")
        if not line.endswith(b"\n"):
            code = self._end()
            raise ConversionError(f"seed-vc ended ({cause(code)}){programs.last_words(self._log)}")
        answer = json.loads(line)
        if "error" in answer:
            self._end()  # after a CUDA error, all further calls fail
            raise ConversionError(f"seed-vc: {answer['error']}")

    def _end(self) -> int:
        """End the process; return its exit code, or that of the signal."""
        program, self._program = self._program, None
        assert program is not None
        with suppress(subprocess.TimeoutExpired):
            program.wait(0.5)  # a process that ends by itself has its own exit code
        programs.end(program)
        for pipe in (program.stdin, program.stdout):
            with suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()
        return program.returncode

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"


def _read_line(pipe: IO[bytes], time_limit: float) -> bytes | None:
    """Return a line of a pipe, or the bytes before it was closed, or None after the time limit."""
    deadline, line = time.monotonic() + time_limit, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            if not (block := os.read(pipe.fileno(), 65536)):
                break
            line += block
    return line


def _free_gpu(names: list[str], folder: Path) -> tuple[str, IO[str]]:
    """Return a GPU that no other worker of this run uses, and its lock file; the lock ends with the process."""
    while True:
        for number, name in enumerate(names):
            file = (folder / f"gpu-{number}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return name, file
        time.sleep(0.2)  # the GPU of a worker that was just killed will be free


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
