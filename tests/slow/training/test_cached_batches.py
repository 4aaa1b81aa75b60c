"""Two processes that train on cached features share the filling of the cache and have the losses of one."""

import json

import pytest

from tests.helpers.runs import make_run, make_store
from tests.slow.test_distributed import config, finish, start, train_alone


def test_two_processes_share_filling_and_have_the_losses_of_one(tmp_path):
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        make_run(make_store(folder), "pretrain")
        path = config(folder, folder, "train", backbone_lr_scale=0, audio_lr_scale=0, cache=True)
        if processes == 1:
            train_alone("train", folder, path)
        else:
            finish(start(processes, folder, "train", path, exact=True))
        losses[processes] = [float(line) for line in (folder / "losses.txt").read_text().splitlines()]
        (about,) = (json.loads(path.read_text()) for path in folder.glob("elements/frozen/*/about.json"))
        assert 0 < about["computed"]["clips"] <= 24
    assert len(losses[1]) >= 20
    assert losses[2] == pytest.approx(losses[1], abs=1e-5)
