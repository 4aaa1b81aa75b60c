"""Training data of a run, and how far a clip is from it.

    N clips   C classes   D features of a branch

Each branch has features of its own, pooled over time: the mel that the audio encoder takes, the tokens of audio and
mouth that are compared, and the patch embeddings of the visual encoder; of a baseline, what its own networks take
(`early` of avdfd/baselines). They are early ones, because the last features
of a trained encoder hold what tells its classes apart, and little of what tells a foreign clip from a known one
(docs/evaluation.md). A clip is out of domain if it is further from the training data, in any branch, than clips of
other identities are.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from avdfd.core.errors import UserError, WorkError
from avdfd.core.text import parse_json
from avdfd.datasets.loaders import ElementSet
from avdfd.features.early import spread
from avdfd.inference.columns import DISTANCE, FUSED
from avdfd.inference.runs import Run
from avdfd.inference.scoring import score
from avdfd.metrics.domain import OVERALL, Reference, combined, distances, percentile
from avdfd.metrics.roc import Floats
from avdfd.models.detector import Detector, DetectorOutput
from avdfd.models.two_branch import TwoBranchDetector

FILE = "domain.safetensors"
"""Name of the file, in the folder of the evaluation on validation."""
_KEY = "avdfd"


@dataclass(frozen=True)
class Domain:
    """The training data of a run, by branch, and the distances from it of clips that are like it but not in it."""

    references: Sequence[Mapping[str, Reference]]
    """The description by branch, for each run of a system: they differ in the features of trained encoders."""
    calibration: Mapping[str, Floats]
    """Branch -> (N,) distances, means over the runs, in the same order for every branch: of validation clips, and of
    training clips from those of other identities."""
    short: Mapping[str, Floats]
    """The same for clips shorter than a window, which are repeated to fill one: such clips cut short. Length is no sign
    of another domain."""
    facts: Mapping[str, Any]
    """`checkpoint_sha256` of the weights, of several runs a list; about the training data, `corpus` and `audio`."""

    @property
    def built_in(self) -> bool:
        """True if the run was trained on the built-in corpus."""
        return bool(self.facts["corpus"]["built_in"])

    def overall(self, found: Mapping[str, Floats], short: NDArray[np.bool_]) -> Floats:
        """Return the distance (M,) of clips in all branches together, from those in each: branch -> (M,).

        A clip beyond 1 is out of domain. `short` (M,) is true for clips shorter than a window.
        """
        far = np.empty(len(short))
        for rows, calibration in ((short, self.short), (~short, self.calibration)):
            far[rows] = combined({branch: values[rows] for branch, values in found.items()}, calibration)
        return far

    def place(self, found: Mapping[str, float], *, short: bool) -> dict[str, dict[str, float]]:
        """Return `distance` and `percentile` among the calibration clips of a clip, in each branch and overall."""
        calibration = self.short if short else self.calibration
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

    It has early features (`Run.early`).
    """

    def columns(batch: Any) -> dict[str, Tensor]:
        assert run.early is not None, "callers check it"
        with _kept(run) as features:
            found = run.columns(batch)
        use({**run.early(batch), **features}, found)
        return found

    return replace(run, columns=columns)


@contextmanager
def _kept(run: Run) -> Iterator[dict[str, Tensor]]:
    """Give a dictionary that holds the features of what takes frames after a forward pass of a run's model."""
    kept: dict[str, Tensor] = {}
    hooks, model = [], run.model
    if _needs_pass(run):
        assert isinstance(model, Detector | TwoBranchDetector)
        visual = "picture" if isinstance(model, Detector) else "visual"
        patches = model.visual_encoder.backbone.patch_embedding
        hooks.append(patches.register_forward_hook(lambda *call: kept.update({visual: spread(call[-1])})))
        if isinstance(model, Detector):
            hooks.append(model.register_forward_hook(lambda *call: kept.update(consistency=_mouth(model, call[-1]))))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _needs_pass(run: Run) -> bool:
    """Return True if features of a run are taken from its forward pass."""
    return isinstance(run.model, Detector | TwoBranchDetector) and run.branches[-1:] == (FUSED,)


def _mouth(model: Detector, out: DetectorOutput) -> Tensor:
    """Return mean and spread over time of the tokens of audio and mouth, and the spread of their movement: (B, 6 K)."""
    found = []
    for tokens in (out.said, out.shown):
        assert tokens is not None, "kept in evaluation"
        found += [spread(tokens), model.consistency.movement(tokens.float()).std(dim=1)]
    return torch.cat(found, dim=1)


def features_of(run: Run, elements: ElementSet, **how: Any) -> dict[str, Floats]:
    """Return the features (N, D) of the elements of a set by branch, in its order; `how` as for `score`.

    Scores are computed only if features of the forward pass are needed. Raises WorkError if a value is not a number.
    """
    parts: list[dict[str, np.ndarray]] = []

    def keep(features: dict[str, Tensor], columns: dict[str, Tensor]) -> None:
        parts.append({branch: values.double().cpu().numpy() for branch, values in features.items()})

    pass_over = run if _needs_pass(run) else replace(run, columns=lambda batch: {}, branches=())
    score(with_features(pass_over, keep), elements, **how)
    features = {branch: np.concatenate([part[branch] for part in parts]) for branch in parts[0]}
    for branch, values in features.items():
        if not np.isfinite(values).all():
            key = elements.metas[int((~np.isfinite(values).all(axis=1)).argmax())].key
            raise WorkError(f"{run.folder}: what its {branch} branch takes of {key} is not finite; make it again")
    return features


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
    for number, references in enumerate(domain.references):
        for branch, parts in references.items():
            tensors |= {f"{_prefix(number)}{branch}.{part}": x for part, x in parts._asdict().items()}
    for branch in domain.calibration:
        tensors |= {f"{branch}.calibration": domain.calibration[branch], f"{branch}.short": domain.short[branch]}
    tensors = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    return safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(domain.facts)})


def _prefix(number: int) -> str:
    """Return what the names of a run's own tensors begin with, those of the first with nothing."""
    return f"{number}/" if number else ""


def weights_of(runs: Sequence[Run]) -> str | list[str]:
    """Return the `checkpoint_sha256` of runs: of a single one as text."""
    digests = [run.sha256 for run in runs]
    return digests if len(digests) > 1 else digests[0]


def load(path: Path, runs: Sequence[Run]) -> Domain | None:
    """Read what evaluate.py has written for the runs of a system; None if there is no file, or it is of other weights.

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
    return domain if domain.facts["checkpoint_sha256"] == weights_of(runs) else None


def _read(path: Path) -> Domain:
    """Read a file of a domain. Raises an error of its own for each kind of damage (`load`)."""
    with safe_open(path, framework="np") as file:
        facts = parse_json((file.metadata() or {})[_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    bool(facts["corpus"]["built_in"])
    for name, values in tensors.items():
        if values.dtype != np.float64 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"values of {name}")
    owners = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    found: dict[str, dict[str, Reference]] = {}
    for owner in owners:
        prefix, slash, branch = owner.rpartition("/")
        means, whitening = (tensors[f"{owner}.{part}"] for part in Reference._fields)
        width = whitening.shape[-1]
        if means.shape != (len(means), width) or whitening.shape != (width, width):
            raise ValueError(f"shapes of {owner}")
        found.setdefault(prefix + slash, {})[branch] = Reference(means, whitening)
    digests = facts["checkpoint_sha256"]
    references = [found.pop(_prefix(number)) for number in range(1 if isinstance(digests, str) else len(digests))]
    branches = references[0].keys()
    calibration, short = (
        {branch: tensors[f"{branch}.{part}"] for branch in branches} for part in ("calibration", "short")
    )
    if found or any(one.keys() != branches for one in references):
        raise ValueError("runs")
    parts = (calibration, short)
    if any({values.shape for values in of.values()} != {(len(next(iter(of.values()))),)} for of in parts):
        raise ValueError("clips")
    return Domain(references, calibration, short, facts)
