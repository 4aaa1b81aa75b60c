"""Training data of a run, and how far a clip is from it.

    N clips   C classes   D features of a branch

Each branch has features of its own, pooled over time: the mel that the audio encoder takes, the tokens of audio and
mouth that are compared, and the patch embeddings of the visual encoder. They are early ones, because the last features
of a trained encoder hold what tells its classes apart, and little of what tells a foreign clip from a known one
(docs/evaluation.md). A clip is out of domain if it is further from the training data, in any branch, than clips of
validation are.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.core.text import parse_json
from avdfd.datasets.loaders import ElementSet
from avdfd.features.mel import log_mel, zscore
from avdfd.inference.runs import DISTANCE, FUSED, Run
from avdfd.inference.scoring import score
from avdfd.metrics.domain import OVERALL, Reference, combined, distances, percentile
from avdfd.metrics.roc import Floats
from avdfd.models.detector import Detector, DetectorOutput
from avdfd.models.two_branch import TwoBranchDetector

FILE = "domain.safetensors"
"""Name of the file, in the folder of the evaluation on validation."""
_KEY = "avdfd"
_PARTS = ("means", "whitening", "validation", "short")


@dataclass(frozen=True)
class Domain:
    """The training data of a run, by branch, and the distances of validation clips from it."""

    references: Mapping[str, Reference]
    validation: Mapping[str, Floats]
    """Branch -> (N,) distances of the validation clips, in the same order for every branch."""
    short: Mapping[str, Floats]
    """The same for clips shorter than a window, which are repeated to fill one: validation clips cut short. Length is
    no sign of another domain."""
    facts: Mapping[str, Any]
    """`checkpoint_sha256` of the run's weights; about the training data, `corpus` and `audio`."""

    @property
    def built_in(self) -> bool:
        """True if the run was trained on the built-in corpus."""
        return bool(self.facts["corpus"]["built_in"])

    def overall(self, found: Mapping[str, Floats], short: NDArray[np.bool_]) -> Floats:
        """Return the distance (M,) of clips in all branches together, from those in each: branch -> (M,).

        A clip beyond 1 is out of domain. `short` (M,) is true for clips shorter than a window.
        """
        far = np.empty(len(short))
        for rows, calibration in ((short, self.short), (~short, self.validation)):
            far[rows] = combined({branch: values[rows] for branch, values in found.items()}, calibration)
        return far

    def place(self, found: Mapping[str, float], *, short: bool) -> dict[str, dict[str, float]]:
        """Return `distance` and `percentile` among validation clips of a clip, in each branch and overall."""
        calibration = self.short if short else self.validation
        known = {branch: calibration[branch] for branch in found}
        overall = combined({branch: np.array([far]) for branch, far in found.items()}, known)
        values = {**found, OVERALL: float(overall[0])}
        known = {**known, OVERALL: combined(known, known)}
        return {
            name: {"distance": float(value), "percentile": percentile(known[name], value)}
            for name, value in values.items()
        }


def with_features(run: Run, use: Callable[[dict[str, Tensor], dict[str, Tensor]], None]) -> Run:
    """Return the run with `use`, a function of the features (B, D) by branch and of the columns, called for each batch.

    Baselines have no features.
    """

    def columns(batch: Any) -> dict[str, Tensor]:
        with _kept(run) as features:
            found = run.columns(batch)
        if run.audio_branch is not None:
            features["audio"] = _audio(batch.mel)
        use(features, found)
        return found

    return replace(run, columns=columns)


@contextmanager
def _kept(run: Run) -> Iterator[dict[str, Tensor]]:
    """Give a dictionary that holds the features of what takes frames after a forward pass of a run's model."""
    kept: dict[str, Tensor] = {}
    hooks, model = [], run.model
    if isinstance(model, Detector | TwoBranchDetector) and run.branches[-1] == FUSED:
        visual = "picture" if isinstance(model, Detector) else "visual"
        patches = model.visual_encoder.backbone.patch_embedding
        hooks.append(patches.register_forward_hook(lambda *call: kept.update({visual: _spread(call[-1])})))
    if isinstance(model, Detector) and run.branches[-1] == FUSED:
        hooks.append(model.register_forward_hook(lambda *call: kept.update(consistency=_mouth(model, call[-1]))))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _audio(audio: Tensor) -> Tensor:
    """Return mean and standard deviation over time of each bin of the z-scored mel: (B, 256).

    `audio` is what the encoder takes, that mel or the waveform.
    """
    mel = audio if audio.ndim == 3 else zscore(log_mel(audio))
    return _spread(mel.float().mT)


def _mouth(model: Detector, out: DetectorOutput) -> Tensor:
    """Return mean and spread over time of the tokens of audio and mouth, and the spread of their movement: (B, 6 K)."""
    found = []
    for tokens in (out.said, out.shown):
        assert tokens is not None, "kept in evaluation"
        found += [_spread(tokens), model.consistency.movement(tokens.float()).std(dim=1)]
    return torch.cat(found, dim=1)


def _spread(tokens: Tensor) -> Tensor:
    """Return mean and standard deviation over N tokens (B, N, D): (B, 2 D), float32."""
    tokens = tokens.float()
    return torch.cat([tokens.mean(dim=1), tokens.std(dim=1)], dim=1)


def features_of(run: Run, elements: ElementSet, **how: Any) -> dict[str, Floats]:
    """Return the features (N, D) of the elements of a set by branch, in its order; `how` as for `score`.

    Raises WorkError if a score is not a number.
    """
    parts: list[dict[str, np.ndarray]] = []

    def keep(features: dict[str, Tensor], columns: dict[str, Tensor]) -> None:
        parts.append({branch: values.double().cpu().numpy() for branch, values in features.items()})

    score(with_features(run, keep), elements, **how)
    return {branch: np.concatenate([part[branch] for part in parts]) for branch in parts[0]}


def with_distances(run: Run, references: Mapping[str, Reference]) -> Run:
    """Return the run with the distance of each element from the training data, by branch, beside its scores."""

    def measure(features: dict[str, Tensor], columns: dict[str, Tensor]) -> None:
        for branch, values in features.items():
            far = distances(references[branch], values.double().cpu().numpy())
            columns[DISTANCE + branch] = torch.from_numpy(far)

    return with_features(run, measure)


def encode(domain: Domain) -> bytes:
    """Return the content of a file of a domain."""
    tensors: dict[str, np.ndarray] = {}
    for branch, (means, whitening) in domain.references.items():
        parts = (means, whitening, domain.validation[branch], domain.short[branch])
        tensors |= {f"{branch}.{part}": np.ascontiguousarray(x) for part, x in zip(_PARTS, parts, strict=True)}
    return safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(domain.facts)})


def load(path: Path, run: Run) -> Domain | None:
    """Read what evaluate.py has written for a run; None if there is no file, or it is of other weights.

    Raises UserError for a damaged file.
    """
    if not path.is_file():
        return None
    try:
        domain = _read(path)
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: damaged, or written by another version; evaluate the run on validation again"
        ) from None
    return domain if domain.facts["checkpoint_sha256"] == sha256_of(run.folder / BEST) else None


def _read(path: Path) -> Domain:
    """Read a file of a domain. Raises an error of its own for each kind of damage (`load`)."""
    with safe_open(path, framework="np") as file:
        facts = parse_json((file.metadata() or {})[_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    bool(facts["corpus"]["built_in"]), str(facts["checkpoint_sha256"])
    branches = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    references, validation, short = {}, {}, {}
    for branch in branches:
        means, whitening, *known = (tensors[f"{branch}.{part}"] for part in _PARTS)
        width = whitening.shape[-1]
        if means.shape != (len(means), width) or whitening.shape != (width, width) or any(x.ndim != 1 for x in known):
            raise ValueError(f"shapes of {branch}")
        for values in (means, whitening, *known):
            if values.dtype != np.float64 or not len(values) or not np.isfinite(values).all():
                raise ValueError(f"values of {branch}")
        references[branch], validation[branch], short[branch] = Reference(means, whitening), *known
    if not branches or any(len({len(values) for values in of.values()}) > 1 for of in (validation, short)):
        raise ValueError("clips")
    return Domain(references, validation, short, facts)
