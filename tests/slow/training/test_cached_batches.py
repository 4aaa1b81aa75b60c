"""Two processes that train on cached features share the filling of the cache and have the losses of one."""

import json

import pytest

from tests.helpers.runs import make_run, make_store
from tests.slow.test_distributed import config, losses_of


def test_two_processes_share_filling_and_have_the_losses_of_one(tmp_path):
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        make_run(make_store(folder), "pretrain")
        path = config(folder, folder, "train", backbone_lr_scale=0, audio_lr_scale=0, cache=True)
        losses[processes] = losses_of(processes, "train", path)
        (about,) = (json.loads(path.read_text()) for path in folder.glob("elements/frozen/*/about.json"))
        assert 0 < about["computed"]["clips"] <= 24
    assert len(losses[1]) >= 20
    assert losses[2] == pytest.approx(losses[1], abs=1e-5)
