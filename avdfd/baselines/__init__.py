"""Published systems for `baseline.py`, `evaluate.py` and `detect.py`: a module each.

Each has the interface `System`; those that are trained also have the rest of `Trained`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from avdfd.baselines import avff, avhalign, countermeasure, mrdf, probe, speechforensics, syncnet, vfd
from avdfd.datasets.loaders import InputForm
from avdfd.datasets.samplers import Epochs
from avdfd.elements import ElementMeta
from avdfd.training.backbone_cache import FrozenPart
from avdfd.training.distributed import Chance


class System(Protocol):
    """Interface of the systems' modules. `cfg` is the system's own config, `stage` one of STAGES."""

    @property
    def STAGES(self) -> tuple[str, ...]:  # noqa: N802
        """Training stages in order; `cfg` has a recipe under each name. A system without training has one stage."""

    @property
    def SCORED(self) -> tuple[str, ...]:  # noqa: N802
        """Stages whose model can score clips without further training."""

    @property
    def LABELLED(self) -> tuple[str, ...]:  # noqa: N802
        """Stages trained on real and fake clips, whose best epoch has the best validation metric. The other stages are
        trained on real clips only, and their best epoch has the lowest validation loss."""

    def branches(self, cfg: Any) -> tuple[str, ...]:
        """Return the names of the scores, the main one last."""

    def inputs(self, cfg: Any, stage: str, *, train: bool) -> InputForm:
        """Return the form in which the model takes elements."""

    def stages(self, cfg: Any) -> tuple[str, ...]:
        """Return the stages that the config trains: all but those that published weights, named by it, replace.

        If there are none, the model that `build` returns is ready.
        """

    def build(self, cfg: Any, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
        """Return the model at the start of a stage; `former` are the weights of the stage before.

        Raises UserError if weights that the config names do not fit.
        """

    def rebuild(self, cfg: Any, stage: str) -> nn.Module:
        """Return the same model with random weights, to load a trained checkpoint into; reads no files."""

    def published(self, file: Path) -> dict[str, Tensor]:
        """Return the state dict of the last stage's model from its authors' checkpoint.

        Raises UserError for other files, and if the system has no such checkpoint.
        """

    def scores(self, model: nn.Module, batch: Any, cfg: Any) -> dict[str, Tensor]:
        """Return branch -> logit of being fake (B,)."""


class Trained(System, Protocol):
    """Interface of the systems that are trained."""

    def needs_whole_batch(self, cfg: Any) -> bool:
        """Return True if the model mixes the samples of a batch, so that a single process has to compute it."""

    def batches(self, cfg: Any, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
        """Return the order of the training elements."""

    def frozen(self, model: nn.Module, cfg: Any, stage: str, device: torch.device) -> FrozenPart | None:
        """Return the part of the model that is never trained and whose outputs are cached; None if there is none."""

    def groups(self, model: nn.Module, cfg: Any, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
        """Return groups of parameters with their learning rate relative to the recipe's."""

    def outputs(self, net: nn.Module, batch: Any, cfg: Any, stage: str, chance: Chance) -> Any:
        """Return the inputs of the losses per sample: a NamedTuple of tensors (B, ...) or None.

        Calls `net`, the possibly distributed model, once. Random numbers come from `chance`.
        """

    def losses(self, model: nn.Module, out: Any, cfg: Any, stage: str) -> dict[str, Tensor]:
        """Return scalars from a whole batch's outputs: "loss" is minimised, the others are recorded."""

    def early(self, model: nn.Module, batch: Any, cfg: Any) -> dict[str, Tensor]:
        """Return early features (B, D) of what the model takes, `audio` and `visual`, which depend on no other clip.

        The domain of a run is described by them.
        """

    def preview(self, batch: Any) -> tuple[Tensor | None, Tensor | None]:
        """Return audio (B, bins, frames) or (B, S) and video (B, 3, T, S, S) uint8 of a batch for inspection;
        None for a batch of cached features."""


TRAINED: dict[str, Trained] = {
    "avff": avff,
    "mrdf": mrdf,
    "vfd": vfd,
    "avhalign": avhalign,
    "probe": probe,
    "countermeasure": countermeasure,
}
"""`kind` of a config -> system that is trained."""
SYSTEMS: dict[str, System] = {**TRAINED, "speechforensics": speechforensics, "syncnet": syncnet}
"""`kind` of a config -> system."""
