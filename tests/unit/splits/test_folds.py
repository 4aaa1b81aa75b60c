"""A config for each fold."""

import pytest

from avdfd.config import MrdfConfig, parse
from avdfd.core.errors import UserError
from avdfd.splits.folds import fold_configs


def test_configs_of_the_folds(tmp_path):
    for number in (2, 1):
        (tmp_path / f"fold_{number}.csv").write_text("")
    cfg = parse({"name": "m", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}, MrdfConfig, "test")
    one, two = fold_configs(cfg, tmp_path)
    assert (one.name, one.data.splits) == ("m-fold_1", str(tmp_path / "fold_1.csv"))
    assert two.name == "m-fold_2"
    assert cfg.data.splits == "s"
    with pytest.raises(UserError, match=r"no fold_\*\.csv here"):
        fold_configs(cfg, tmp_path / "none")
