"""Training from a store at a URL: the losses of the folder's run, and one line for what its server does wrong."""

import shutil

import pytest

import pretrain
from avdfd.core import errors
from avdfd.elements import ElementStore
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX, folder_of
from tests.helpers.file_server import FileServer, serve
from tests.helpers.runs import epochs

ONE_EPOCH = {"lr": 1e-3, "epochs": 1, "warmup_epochs": 1, "batch_size": 4}


@pytest.fixture
def folder(store, tmp_path, monkeypatch):
    monkeypatch.setattr("avdfd.elements.layout.REMOTE", tmp_path / "remote")
    folder = shutil.copytree(store / "elements", tmp_path / "elements")
    assert merge(folder)
    return folder


def test_losses_are_those_of_the_folder(stage1, folder, tmp_path):
    found = {}
    with serve(FileServer(folder)) as server:
        for name, elements in (("near", folder), ("far", server.url)):
            pretrain.main([*stage1(optim=ONE_EPOCH), f"--data.elements={elements}", f"--name={name}"])
            (found[name],) = epochs(tmp_path / "runs" / name)
    assert found["far"]["loss"] == found["near"]["loss"]
    assert found["far"]["val_auc"] == found["near"]["val_auc"]
    assert (folder_of(server.url) / INDEX).is_file()


def test_a_changed_shard_ends_training_with_one_line(stage1, folder, tmp_path, monkeypatch, capsys):
    (shard,) = folder.glob("shard-*.tar")
    data = bytearray(shard.read_bytes())
    for place in ElementStore(folder).metas.numbers("mel.npy"):
        data[int(place) + 50] ^= 1
    shard.write_bytes(data)
    with serve(FileServer(folder)) as server:
        arguments = [*stage1(optim=ONE_EPOCH), f"--data.elements={server.url}", "--data.workers=1"]
        monkeypatch.setattr("sys.argv", ["pretrain.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            errors.run_script(pretrain.main)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: {server.url}/{shard.name}: mel.npy of the clip ")


def test_a_server_that_is_gone_ends_training_with_one_line(stage1, folder, monkeypatch, capsys):
    monkeypatch.setattr("avdfd.core.remote_files._WAITS", ())
    with serve(FileServer(folder)) as server:
        server.status["shard-000-00000.tar"] = 503
        monkeypatch.setattr("sys.argv", ["pretrain.py", *stage1(), f"--data.elements={server.url}", "--data.workers=1"])
        with pytest.raises(SystemExit) as ended:
            errors.run_script(pretrain.main)
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line == f"error: {server.url}/shard-000-00000.tar: cannot be read (HTTP 503); run it again"
