"""Export of a run to ONNX: one graph from what the model is given to P(fake) of every branch.

B windows, any number   S samples of a window (49,152), or of a countermeasure's whole clip   H side of the frames

    waveform (B, S) float32 in [-1, 1] at 16 kHz    frames (B, 3, 16, H, H) uint8    shape (B, 77, 120) float32
    -> one output (B,) per branch: its P(fake)

The graph computes the mel and other spectra, their normalisation and that of the frames, and repeats a window for
countermeasures that take more. It does not decode, find faces, or compute the mouth shape (`avdfd.features.mouth_shape`
of landmarks), and it does not pool windows: those stay with the caller. The metadata of the file name the weights.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avdfd.baselines.countermeasure import score_of
from avdfd.config import CountermeasureConfig, PretrainConfig, TrainConfig
from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import write_atomic
from avdfd.datasets.loaders import Inputs as StageInputs
from avdfd.datasets.transforms import CLIP_FRAMES
from avdfd.features.mel import log_mel, zscore
from avdfd.features.mouth_shape import SHAPE
from avdfd.features.window import FRAMES, SAMPLE_RATE, WINDOW
from avdfd.inference.runs import Run
from avdfd.models.front_ends.w2v_bert import W2vBert

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference in P(fake) between the run and its exported graph."""
PACKAGES = ("onnx", "onnxscript")
MOST_BYTES = 2 * 10**9
"""Largest size of the weights: a file of ONNX holds less than 2 GiB."""


class Form(NamedTuple):
    """The graph of a run before it is exported."""

    graph: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    samples: int
    """Samples of the waveform."""
    image_size: int | None
    """Side of the frames; None for audio alone."""


class _Graph(nn.Module):
    """Inputs of the file -> P(fake) of every branch."""

    def __init__(self, run: Run, repeated_to: int) -> None:
        super().__init__()
        self.model, self.config, self.repeated_to = run.model, run.config, repeated_to
        self.takes_mel = isinstance(run.inputs, StageInputs) and run.inputs.audio == "mel"

    def forward(self, waveform: Tensor, frames: Tensor | None = None, shape: Tensor | None = None) -> Any:
        return tuple(torch.sigmoid(logit) for logit in self.logits(waveform, frames, shape))

    def logits(self, waveform: Tensor, frames: Tensor | None, shape: Tensor | None) -> Sequence[Tensor]:
        audio = zscore(log_mel(waveform)) if self.takes_mel else waveform
        if isinstance(self.config, PretrainConfig):
            return [self.model(audio).logit]
        if isinstance(self.config, TrainConfig):
            out = self.model(audio, *(one for one in (frames, shape) if one is not None))
            return [*out.logits.unbind(dim=1), out.logit_final]
        assert isinstance(self.config, CountermeasureConfig), "as `form_of` checks"
        times = -(-self.repeated_to // audio.shape[1])
        return [score_of(self.model(audio.repeat(1, times)[:, : self.repeated_to]), self.config)]


def form_of(run: Run) -> Form:
    """Return the graph of a run. Raises UserError for a run that cannot be exported."""
    cfg = run.config
    if any(isinstance(module, W2vBert) for module in run.model.modules()):
        raise UserError(
            f"{run.folder}: its encoder is w2v-bert-2, whose filter bank ONNX has not; it cannot be exported"
        )
    size = sum(weight.numel() * weight.element_size() for weight in run.model.parameters())
    if size > MOST_BYTES:
        raise UserError(f"{run.folder}: has {size / 1e9:.1f} GB of weights, and a file of ONNX holds less than 2.1 GB")
    if isinstance(cfg, CountermeasureConfig):
        samples = WINDOW if cfg.model.clips == "window" else cfg.model.samples
        return Form(_Graph(run, cfg.model.samples), ("waveform",), run.branches, samples, None)
    if not isinstance(cfg, PretrainConfig | TrainConfig):
        raise UserError(f"{run.folder}: {cfg.kind} cannot be exported; stage 1, stage 2 and countermeasures can")
    assert isinstance(run.inputs, StageInputs), "those of both stages"
    if run.inputs.audio == "mel_err":
        raise UserError(f"{run.folder}: takes mel_err, which needs a diffusion model; it cannot be exported")
    inputs = ["waveform"]
    if run.inputs.image_size is not None:
        inputs.append("frames")
    if run.inputs.shape:
        kind = run.inputs.representation.kind
        if kind != "mouth-shape":
            raise UserError(f"{run.folder}: its representation is {kind}; only runs on the mouth shape can be exported")
        inputs.append("shape")
    return Form(_Graph(run, WINDOW), tuple(inputs), run.branches, WINDOW, run.inputs.image_size)


def example(form: Form, clips: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return drawn inputs of a graph: voiced noise, and frames and mouths that move."""
    rng = np.random.default_rng(seed)
    time = np.arange(form.samples) / SAMPLE_RATE
    pitch = rng.uniform(90, 220, (clips, 1))
    voiced = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 20))
    waveform = 0.05 * voiced * (1 + np.sin(2 * np.pi * 4 * time)) + 0.01 * rng.standard_normal((clips, form.samples))
    made = {"waveform": waveform.astype(np.float32)}
    if form.image_size is not None:
        shape = (clips, 3, CLIP_FRAMES, form.image_size, form.image_size)
        made["frames"] = rng.integers(0, 256, shape, np.uint8)
    if "shape" in form.inputs:
        steps = rng.standard_normal((clips, FRAMES, SHAPE)).cumsum(axis=1)
        made["shape"] = (0.02 * steps).astype(np.float32)
    return made


@torch.no_grad()
def run_torch(form: Form, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the run itself computes."""
    given = [torch.from_numpy(inputs[name]) for name in form.inputs]
    found = form.graph(*given)
    return {name: values.numpy() for name, values in zip(form.outputs, found, strict=True)}


def export(run: Run, path: Path) -> Form:
    """Write the graph of a run, opset 18, for any number of windows. Raises UserError if the run has no such graph, or
    a package is missing, and WorkError if torch cannot export it."""
    form = form_of(run)
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch needs it
    except ImportError:
        raise UserError(
            f"{' and '.join(PACKAGES)} are not installed: bash setup.sh --dev, or .venv/bin/pip install "
            f"{' '.join(PACKAGES)}"
        ) from None
    form.graph.eval()
    inputs = example(form, 2)
    run_torch(form, inputs)  # constants that are made once are then numbers, not placeholders of the export
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                form.graph,
                tuple(torch.from_numpy(inputs[name]) for name in form.inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(form.inputs),
                output_names=list(form.outputs),
                dynamic_shapes=tuple({0: batch} for _ in form.inputs),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0]
        raise WorkError(f"{run.folder}: torch cannot export it: {reason}") from None
    assert program is not None, "with dynamo there is one"
    model = program.model_proto
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        raise WorkError(f"{run.folder}: its graph would be for {len(inputs['waveform'])} windows alone")
    about = {
        "run": str(run.folder),
        "kind": run.config.kind,
        "weights_sha256": run.sha256,
        "sample_rate": SAMPLE_RATE,
        "main": run.branches[-1],
        "label": "1 is fake",
    }
    onnx.helper.set_model_props(model, {"avdfd": json.dumps(about)})
    write_atomic(path, model.SerializeToString())
    return form


def difference(form: Form, path: Path, clips: int = 3) -> float | None:
    """Return the largest difference in P(fake) between the run and the file on drawn windows, None without onnxruntime.

    The number of windows is another one than in the export.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    inputs = example(form, clips, seed=1)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(list(form.outputs), inputs)
    ours = run_torch(form, inputs)
    return max(float(np.abs(ours[name] - one).max()) for name, one in zip(form.outputs, theirs, strict=True))
