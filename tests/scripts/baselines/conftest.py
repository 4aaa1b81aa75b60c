"""Configs and runs of the baselines."""

import shutil

import pytest

import baseline
from tests.helpers.baselines import SYSTEMS
from tests.helpers.runs import make_store, write_config


@pytest.fixture
def config(store, tmp_path):
    """Write the config of a system, with changes; return the arguments that name it."""

    def config(kind, **changes):
        return write_config(tmp_path, store, kind, kind, ["RVFA", "FVRA"], SYSTEMS[kind] | changes)

    return config


@pytest.fixture(scope="session")
def kept(small_store, tmp_path_factory):
    """Train a system on its config of SYSTEMS when it is first asked for; return the folder of its runs."""
    root = tmp_path_factory.mktemp("kept")

    def kept(kind):
        folder = root / kind
        if not folder.exists():
            folder.mkdir()
            baseline.main(write_config(folder, small_store, kind, kind, ["RVFA", "FVRA"], SYSTEMS[kind]))
        return folder / "runs"

    return kept


@pytest.fixture
def trained(kept, tmp_path):
    """Copy the runs of a system, all its stages, to `runs`; return the run of its last stage."""

    def trained(kind):
        shutil.copytree(kept(kind), tmp_path / "runs", dirs_exist_ok=True)
        return tmp_path / "runs" / kind

    return trained


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("whole"), whole=(26, 40, 31))


@pytest.fixture
def whole_config(whole_store, tmp_path):
    """Write the config of an MRDF that takes whole clips, with changes; return the arguments that name it."""

    def whole_config(name="whole", store=None, kind="mrdf", **changes):
        values = {**SYSTEMS[kind], "name": name}
        if kind == "mrdf":
            values["model"] = {**values["model"], "clips": "whole", **changes.pop("model", {})}
            values["train"] = {**values["train"], "epochs": 1}
        return write_config(tmp_path, store or whole_store, kind, name, ["RVFA", "FVRA"], values | changes)

    return whole_config
