"""Exported graphs have the scores of their run. Exporting takes half a minute each; the packages are optional."""

import json

import numpy as np
import pytest
import torch

import export as script
from avdfd.config import CountermeasureConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.samplers import Draw
from avdfd.elements import ElementStore
from avdfd.inference import runs, scoring
from avdfd.inference.export import OPSET, TOLERANCE
from avdfd.models.aasist import SIZES, Aasist
from avdfd.training import weights
from avdfd.training.weights import RunFacts
from tests.helpers.encoders import WAVLM, WHISPER, XLS_R, audio_model, encoder_files
from tests.helpers.runs import SPECTRA, data_section, make_run, make_store
from tests.helpers.three_branches import make_three_branches

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("talking"), landmarks=True)


def make_countermeasure(root, data):
    values = {"kind": "countermeasure", "name": "aasist-l", "runs": str(root), "data": data_section(data, "RVFA")}
    config = parse({**values, "model": {"arch": "aasist-l"}}, CountermeasureConfig, "test")
    torch.manual_seed(0)
    facts = RunFacts(config=config, stage="train", git="unknown")
    weights.save(root / "aasist-l" / BEST, Aasist(**SIZES["aasist-l"]).state_dict(), facts)
    return root / "aasist-l"


def on_encoder(front):
    """Return the maker of a stage 1 on a small pretrained encoder."""

    def make(root, data):
        return make_run(root, "pretrain", data, audio=audio_model(front, encoder_files(root, [front])))

    return make


RUNS = {
    "audio": lambda root, data: make_run(root, "pretrain", data),
    "audio of the waveform": lambda root, data: make_run(root, "pretrain", data, audio=SPECTRA),
    "audio on Whisper": on_encoder(WHISPER),
    "audio on WavLM": on_encoder(WAVLM),
    "audio on XLS-R": on_encoder(XLS_R),
    "two branches": lambda root, data: make_run(root, "train", data),
    "three branches": make_three_branches,
    "countermeasure": make_countermeasure,
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_graph_has_the_scores_of_its_run(kind, data, tmp_path, capsys):
    """On stored elements, from the stored waveform, as evaluate.py scores them."""
    folder, out = RUNS[kind](tmp_path, data), tmp_path / "out.onnx"
    script.main(["--run", str(folder), "--out", str(out)])
    said = capsys.readouterr().out
    assert f"opset {OPSET}; waveform" in said
    assert "largest difference from the run in P(fake): " in said

    run = runs.load_run(folder, "cpu")
    store = ElementStore(data / "elements")
    metas = store.metas[:5]
    expected = scoring.score(run, ElementSet(store, metas, run.inputs)).branch
    read = run.inputs.reads._replace(waveform=True)._asdict()
    elements = [store.read(meta.key, **read) for meta in metas]
    inputs = {"waveform": np.stack([element.waveform for element in elements]).astype(np.float32)}
    if run.inputs.reads.frames is not None:
        batch = ElementSet(store, metas, run.inputs)
        prepared = batch.prepare(batch.raw(range(5)), [Draw(at, None) for at in range(5)])
        inputs["frames"] = prepared.video.numpy()
        inputs |= {} if prepared.shape is None else {"shape": prepared.shape.numpy()}
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    found = dict(zip(run.branches, session.run(list(run.branches), inputs), strict=True))
    for branch in run.branches:
        assert np.abs(found[branch] - expected[branch]).max() < TOLERANCE, branch

    model = onnx.load(out)
    assert model.opset_import[0].version == OPSET
    about = json.loads({entry.key: entry.value for entry in model.metadata_props}["avdfd"])
    assert (about["kind"], about["main"]) == (run.config.kind, run.branches[-1])


def test_a_missing_package_is_one_line(data, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UserError, match="onnx and onnxscript are not installed: bash setup.sh --dev, or"):
        script.main(["--run", str(make_run(tmp_path, "pretrain", data)), "--out", str(tmp_path / "x.onnx")])
    assert not (tmp_path / "x.onnx").exists()
