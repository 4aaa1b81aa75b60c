"""What `baseline.py`, `evaluate.py` and `detect.py` need to know of each published system: a module per system, all
with the names of `System`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from avdfd.baselines import avff, mrdf, vfd
from avdfd.datasets.loaders import InputForm
from avdfd.datasets.samplers import Epochs
from avdfd.elements import ElementMeta
from avdfd.training.distributed import Chance


class System(Protocol):
    """The names that every module of this package has. `cfg` is the system's own config, `stage` one of STAGES."""

    @property
    def STAGES(self) -> tuple[str, ...]:  # noqa: N802
        """In the order in which they are trained; `cfg` has a recipe of the same name for each."""

    @property
    def SCORED(self) -> tuple[str, ...]:  # noqa: N802
        """Stages whose model tells fakes from reals without further training."""

    @property
    def LABELLED(self) -> tuple[str, ...]:  # noqa: N802
        """Stages that see fakes: the best epoch has the best validation metric. The others see real clips alone, and
        the best epoch has the lowest loss."""

    def branches(self, cfg: Any) -> tuple[str, ...]:
        """Names of the scores, the main one last."""

    def inputs(self, cfg: Any, stage: str, *, train: bool) -> InputForm:
        """What the model is given of an element."""

    def brings_weights(self, cfg: Any) -> bool:
        """Whether the config names weights that take the place of all stages before the last."""

    def one_process(self, cfg: Any) -> bool:
        """Whether the model looks across the samples of a batch, so that one process has to have all of it."""

    def batches(self, cfg: Any, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
        """The order of the training elements."""

    def build(self, cfg: Any, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
        """The model at the start of a stage; `former` is what the stage before has learned.

        Raises UserError for weights that the config names and that do not fit.
        """

    def rebuild(self, cfg: Any, stage: str) -> nn.Module:
        """The same model for a trained checkpoint to be loaded into: reads no other files."""

    def published(self, file: Path) -> dict[str, Tensor]:
        """State dict of the last stage's model from its authors' checkpoint.

        Raises UserError for other files, and where there is no such checkpoint.
        """

    def groups(self, model: nn.Module, cfg: Any, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
        """Parameters with their learning rate relative to the recipe's."""

    def outputs(self, net: nn.Module, batch: Any, cfg: Any, stage: str, chance: Chance) -> Any:
        """What the losses need of each sample: a NamedTuple of tensors (B, ...), or None. Calls `net` once, which is
        the model as it is trained on several processes; random numbers are taken from `chance`."""

    def losses(self, model: nn.Module, out: Any, cfg: Any, stage: str) -> dict[str, Tensor]:
        """Scalars of a whole batch's outputs: "loss" is minimised, the others are recorded beside it."""

    def shown(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Sound (B, bins, frames) and pictures (B, 3, T, S, S) uint8 of a batch, for people to look at."""

    def scores(self, model: nn.Module, batch: Any, cfg: Any) -> dict[str, Tensor]:
        """Branch -> logit of being fake (B,)."""


SYSTEMS: dict[str, System] = {"avff": avff, "mrdf": mrdf, "vfd": vfd}
"""Kind of config -> system."""
