"""Seed-VC, tested with a fake checkout that has the entry points and arguments of inference_v2.py."""

import json
import sys

import numpy as np
import pytest

from avdfd.config import SeedVcConfig
from avdfd.core.errors import UserError
from avdfd.corpora.cloning.backends import check_backend, open_backend, processes, settings_of
from avdfd.corpora.cloning.request import ConversionError, Request

STAND_IN = """
import json, os, sys, time
import numpy as np
import soundfile
import torch

vc_wrapper_v2 = None
print("noise on stdout")
KEYS = {"diffusion_steps", "length_adjust", "intelligibility_cfg_rate", "similarity_cfg_rate", "top_p", "temperature",
        "repetition_penalty", "convert_style", "anonymization_only", "compile", "ar_checkpoint_path",
        "cfm_checkpoint_path"}

def note(**facts):
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps({"pid": os.getpid(), "gpu": os.environ["CUDA_VISIBLE_DEVICES"], **facts}) + "\\n")

def load_v2_models(args):
    assert os.path.isfile("inference_v2.py"), "relative paths are those of the checkout"
    note(load=vars(args))
    if os.path.exists("no_models"):
        raise OSError("cannot reach the hub")
    return "models"

def convert_voice_v2(source_audio_path, target_audio_path, args):
    assert vc_wrapper_v2 == "models"
    assert KEYS <= set(vars(args))
    print("more noise")
    note(convert=vars(args), draw=float(torch.rand(1)), numpy=float(np.random.rand()))
    source, rate = soundfile.read(source_audio_path, dtype="float32")
    target, _ = soundfile.read(target_audio_path, dtype="float32")
    if abs(target[0]) > 0.9:  # a reference that makes it fail
        raise RuntimeError("CUDA error")
    if abs(target[1]) > 0.9:
        time.sleep(60)
    if abs(target[2]) > 0.9:
        os._exit(7)
    if abs(target[3]) > 0.9:
        return None
    return 22050, np.interp(np.arange(int(len(source) * 22050 / rate)) * rate / 22050, np.arange(len(source)), -source)
"""

SOURCE = (0.3 * np.sin(np.arange(16_000) * 0.2)).astype(np.float32)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "seed-vc"
    folder.mkdir()
    (folder / "inference_v2.py").write_text(STAND_IN)
    return folder


def config(checkout, **more):
    return SeedVcConfig(checkout=str(checkout), python=sys.executable, gpus=["0", "1"], **more)


def backend(cfg, tmp_path, name="worker", time_limit=20.0):
    (tmp_path / name).mkdir(exist_ok=True)
    return open_backend(cfg, tmp_path / name, time_limit)


def reference(bad=None):
    audio = np.full(8_000, 0.1, np.float32)
    if bad is not None:
        audio[bad] = 1.0
    return audio


def calls(checkout, kind):
    lines = (checkout / "calls.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if kind in line]


def test_models_load_once_and_conversions_get_the_settings_and_the_seed(checkout, tmp_path):
    cfg = config(checkout, guidance=[[0.7, 0.7], [0.5, 0.9]])
    convert = backend(cfg, tmp_path)
    for turn, seed in enumerate((1, 2, 1)):
        made = convert(Request(SOURCE, reference(), seed, settings_of(cfg, turn, seed)))
        assert len(made) == pytest.approx(len(SOURCE), abs=20)
        assert made.dtype == np.float32
        assert np.abs(made[:15_000] + SOURCE[:15_000]).max() < 0.02
    (load,) = calls(checkout, "load")
    assert load["load"] == {
        "diffusion_steps": 25, "length_adjust": 1.0, "intelligibility_cfg_rate": 0.7, "similarity_cfg_rate": 0.7,
        "top_p": 0.9, "temperature": 1.0, "repetition_penalty": 1.0, "convert_style": False,
        "anonymization_only": False, "compile": False, "ar_checkpoint_path": None, "cfm_checkpoint_path": None,
    }  # fmt: skip
    done = calls(checkout, "convert")
    rates = [(c["convert"]["intelligibility_cfg_rate"], c["convert"]["similarity_cfg_rate"]) for c in done]
    assert rates == [(0.7, 0.7), (0.5, 0.9), (0.7, 0.7)]
    assert {call["pid"] for call in done} == {load["pid"]}
    assert done[0]["draw"] == done[2]["draw"] != done[1]["draw"]
    assert done[0]["numpy"] == done[2]["numpy"] != done[1]["numpy"]


def test_failure_is_reported_and_the_next_conversion_has_a_new_process(checkout, tmp_path):
    convert = backend(config(checkout), tmp_path, time_limit=3.0)
    reasons = ("seed-vc: RuntimeError: CUDA error", "took longer than 3 s", "exit code 7", "no result")
    for bad, reason in enumerate(reasons):
        with pytest.raises(ConversionError, match=reason):
            convert(Request(SOURCE, reference(bad), 1))
    convert.time_limit = 20.0
    assert len(convert(Request(SOURCE, reference(), 1)))
    assert len({call["pid"] for call in calls(checkout, "load")}) == 5


def test_models_that_do_not_load_fail_all_conversions(checkout, tmp_path):
    (checkout / "no_models").touch()
    convert = backend(config(checkout), tmp_path)
    for _ in range(3):
        with pytest.raises(ConversionError, match="OSError: cannot reach the hub"):
            convert(Request(SOURCE, reference(), 1))
    assert len(calls(checkout, "load")) == 1


def test_each_worker_has_its_own_gpu(checkout, tmp_path):
    first, second = (backend(config(checkout), tmp_path, name) for name in ("one", "two"))
    for convert in (first, second):
        convert(Request(SOURCE, reference(), 1))
    assert [call["gpu"] for call in calls(checkout, "load")] == ["0", "1"]


def test_one_process_per_gpu(checkout, monkeypatch):
    assert processes(config(checkout), 0) == 2
    assert processes(config(checkout), 8) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    assert processes(SeedVcConfig(checkout=".", python="python"), 0) == 3


def test_missing_parts_are_named(checkout, tmp_path):
    check_backend(config(checkout))
    with pytest.raises(UserError, match=r"has no inference_v2\.py; clone Plachtaa/seed-vc"):
        check_backend(config(tmp_path))
    with pytest.raises(UserError, match=r"backend\.python: no program '/no/python'"):
        check_backend(SeedVcConfig(checkout=str(checkout), python="/no/python"))
    with pytest.raises(UserError, match=r"backend\.ar_checkpoint: /no/file"):
        check_backend(config(checkout, ar_checkpoint="/no/file"))
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'soundfile'\" >&2\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(UserError, match=r"lacks what seed-vc needs \(ModuleNotFoundError: No module named 'soundfile'"):
        check_backend(SeedVcConfig(checkout=str(checkout), python=str(bare)))
