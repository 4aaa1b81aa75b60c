"""Weights that a stage of AVFF starts from: a published checkpoint, or an earlier run.

OpenAVFF trains in three steps: pre-training on any videos, pre-training on real faces from the weights of the first,
and classification from the weights of either. Its last step reads a file that its notebook has made of the second's:
the classifier with new layers.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from avdfd.config import AvffConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.training import weights
from avdfd.training.state_dicts import fill, read_weights, unwrap
from OpenAVFF.adversarial import AdversarialPretraining
from OpenAVFF.finetuning import VideoCAVMAEFT
from OpenAVFF.pretraining import VideoCAVMAE

_CLASSIFIER = "mlp_head."
_INPUTS = ("audio_input", "fbank_mean", "fbank_std", "normalisation")
"""Keys of `model` that change what a model is given, but no shape of its weights."""


def named_weights(cfg: AvffConfig, stage: str) -> dict[str, Tensor] | None:
    """Return the state dict of the file or run in `model.openavff`; None if there is none.

    Raises UserError if it is missing, damaged, of another sha256 or no state dict, if it is a run that was trained on
    other inputs, and if fine-tuning would pass over a pre-training run of its own name.
    """
    named = cfg.model.openavff
    if named is None:
        return None
    path = _file(named.file)
    content = unwrap(read_weights(path, sha256=named.sha256), str(path))
    _refuse_two_starts(cfg, stage, path)
    if weights.has_facts(path):
        run = weights.facts_of(path, cfg.kind).config
        assert isinstance(run, AvffConfig), "facts_of checks the kind"
        _refuse_other_inputs(cfg, run, path)
    return content


def _refuse_other_inputs(cfg: AvffConfig, run: AvffConfig, path: Path) -> None:
    """Raise UserError if a run was trained with another form of encoder or of its inputs."""
    if (run.model.marlin is None) != (cfg.model.marlin is None):
        has = "lacks" if run.model.marlin is None else "has"
        value = "null" if run.model.marlin is None else run.model.marlin.file
        raise UserError(f"{path}: its visual encoder {has} the biases of MARLIN's form: set model.marlin={value}")
    for key in _INPUTS:
        ours, theirs = getattr(cfg.model, key), getattr(run.model, key)
        if ours != theirs:
            raise UserError(f"{path}: was trained with model.{key} {theirs}, not {ours}: set model.{key}={theirs}")


def start_pretraining(model: VideoCAVMAE | AdversarialPretraining, state: Mapping[str, Tensor], source: str) -> None:
    """Load the weights of an earlier pre-training; critics that it did not have keep theirs.

    Raises UserError that names `source` if they do not fit.
    """
    own = {key.removeprefix("model."): value for key, value in state.items() if not key.startswith("critics.")}
    if not isinstance(model, AdversarialPretraining):
        fill(model, own, source=source)
        return
    fill(model.model, own, source=source)
    critics = {key.removeprefix("critics."): value for key, value in state.items() if key.startswith("critics.")}
    if critics:
        fill(model.critics, critics, source=source)


def start_finetuning(model: VideoCAVMAEFT, state: Mapping[str, Tensor], source: str) -> None:
    """Load the encoders and fusion transformers of a pre-training, or all layers of a classifier.

    Raises UserError that names `source` if they do not fit.
    """
    if any(key.startswith(_CLASSIFIER) for key in state):
        fill(model, state, source=source)
        return
    try:
        model.load_pretrained(state)
    except ValueError as error:
        raise UserError(f"{source}: {error}; check the sizes in the config") from None


def pretrained_under(cfg: AvffConfig, stage: str) -> list[AvffConfig]:
    """Return the configs of the runs that the weights of a stage came through, the last one first.

    Published files have none, and runs that are no longer there cannot be asked.
    """
    found: list[AvffConfig] = []
    while (path := _former(cfg, stage)) is not None and len(found) < _MOST:
        facts = weights.facts_of(path, "avff")
        assert isinstance(facts.config, AvffConfig), "facts_of checks the kind"
        assert facts.stage is not None, "a baseline has one"
        cfg, stage = facts.config, facts.stage
        found.append(cfg)
    return found


_MOST = 8  # runs in a chain, which two runs that were trained anew from each other would make endless


def _former(cfg: AvffConfig, stage: str) -> Path | None:
    """Return the weights of the run that a stage started from, if there still is one."""
    if cfg.model.openavff is not None:
        path = Path(cfg.model.openavff.file)
        path = path / BEST if path.is_dir() else path
    elif stage == "finetune":
        path = _own_pretraining(cfg)
    else:
        return None
    return path if path.is_file() and weights.has_facts(path) else None


def _own_pretraining(cfg: AvffConfig) -> Path:
    return Path(cfg.runs) / f"{cfg.name}-pretrain" / BEST


def _file(name: str) -> Path:
    """Return the file of a run folder, or the file itself."""
    path = Path(name)
    if not path.is_dir():
        return path
    if not (path / BEST).is_file():
        raise UserError(f"{path}: has no {BEST}; model.openavff takes a file, or a run that has finished an epoch")
    return path / BEST


def _refuse_two_starts(cfg: AvffConfig, stage: str, path: Path) -> None:
    """Raise UserError if fine-tuning would start from another file than the pre-training run of its own name."""
    own = _own_pretraining(cfg)
    if stage == "finetune" and own.is_file() and own.resolve() != path.resolve():
        raise UserError(
            f"{own.parent}: fine-tuning would not start from this run but from model.openavff, {path}: "
            "set model.openavff to the run or to null, or change 'name'"
        )
