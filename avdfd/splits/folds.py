"""Cross-validation: one config per fold."""

from pathlib import Path
from typing import TypeVar

from avdfd.config import RunConfig
from avdfd.core.errors import UserError

R = TypeVar("R", bound=RunConfig)


def fold_configs(cfg: R, folder: Path) -> list[R]:
    """Return one config per fold file of a folder, named after the fold. Raises UserError if there is no fold file."""
    files = sorted(folder.glob("fold_*.csv"))
    if not files:
        raise UserError(f"{folder}: no fold_*.csv here; data/preprocessing/make_splits.py makes them")
    return [
        cfg.model_copy(
            update={"name": f"{cfg.name}-{file.stem}", "data": cfg.data.model_copy(update={"splits": str(file)})}
        )
        for file in files
    ]
