"""Frozen features on disk: what they depend on, interruptions, several processes, refused values."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from avdfd.config import AudioModelConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Draw
from avdfd.elements import ElementStore, ElementWriter, index
from avdfd.elements.form import encode_audio
from avdfd.features.window import WINDOW
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.training import array_store, backbone_cache
from avdfd.training.array_store import ArrayStore
from avdfd.training.build import build_detector
from tests.helpers.runs import AUDIO, SPECTRA, VISUAL

BLOCK = 4
CPU = torch.device("cpu")
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module", autouse=True)
def many_blocks():
    """Make blocks small, so that a small store has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_store, "BLOCK", BLOCK)
        patch.setattr(backbone_cache, "BLOCK", BLOCK)
        yield


@pytest.fixture(scope="module")
def made(small_store):
    return small_store / "elements"


@pytest.fixture
def root(made, tmp_path):
    """A store without cached features."""
    shutil.copytree(made, tmp_path / "elements")
    return tmp_path / "elements"


def encoder(*, seed: int = 0, size: int = 32, audio=AUDIO, **visual) -> backbone_cache.Encoder:
    torch.manual_seed(seed)
    sizes = {"visual": {**VISUAL, "image_size": size, **visual}, "predictor": {"heads": 2}}
    data = {"splits": "none", "fake_tiers": ["RVFA"]}
    cfg = TrainConfig.model_validate({"name": "test", "audio": "none", "data": data, **sizes})
    audio_model = AudioModelConfig.model_validate(audio)
    detector = build_detector(cfg, audio_model)
    return backbone_cache.Encoder(detector, Inputs(size, audio=audio_model.input), "fp32", CPU)


def filled(root: Path, rows: np.ndarray | None = None, **more) -> ArrayStore:
    store = ElementStore(root)
    kept = backbone_cache.open_cache(store, encoder())
    backbone_cache.fill(kept, np.arange(len(store)) if rows is None else rows, store, encoder(), **more)
    return kept


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def folders(root: Path) -> set[str]:
    return {path.name for path in (root / backbone_cache.FOLDER).iterdir() if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def undisturbed(many_blocks, made, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "elements"
    shutil.copytree(made, root)
    kept = filled(root)
    kept.close()
    return content(kept.root)


def test_cached_features_are_those_of_the_encoders(root):
    store, whole = ElementStore(root), encoder()
    rows = np.array([50, 3, 4])
    kept = filled(root, rows)
    assert np.flatnonzero(kept.done()).tolist() == [3, 4, 50]
    batch = ElementSet(store, store.metas, Inputs(32)).batch([Draw(row, None) for row in rows.tolist()])
    for name, expected in whole(*batch.model_inputs)._asdict().items():
        assert kept.formats[name].dtype == ("float16" if name == "tokens" else "float32")
        ours = kept.array(name)[torch.from_numpy(rows)]
        torch.testing.assert_close(ours, expected, rtol=1e-3 if name == "tokens" else 1e-5, atol=1e-5)
    about = kept.about()
    assert about["of"]["inputs"]["image_size"] == 32
    assert about["computed"]["clips"] == 3
    assert about["computed"]["clips_per_second"] > 0
    kept.close()


def test_features_of_a_waveform(root):
    """The waveform is encoded as stored; other spectra with as many values get a folder of their own."""
    store, whole = ElementStore(root), encoder(audio=SPECTRA)
    rows = np.array([3, 4])
    kept = backbone_cache.open_cache(store, whole)
    backbone_cache.fill(kept, rows, store, whole)
    logit = kept.array("logit_audio")[torch.from_numpy(rows)]
    waveforms = [torch.from_numpy(store.read(store.metas[row].key, waveform=True).waveform) for row in rows.tolist()]
    with torch.inference_mode():
        feature, _ = whole.model.audio_encoder(torch.stack(waveforms))
        torch.testing.assert_close(logit, whole.model.audio_head(feature).squeeze(-1))
    kept.close()
    backbone_cache.open_cache(store, encoder(audio={**SPECTRA, "spectra": [256, 512]})).close()
    assert len(folders(root)) == 2


def test_no_row_is_computed_twice(root, monkeypatch):
    filled(root, np.arange(10)).close()
    calls = []
    encode = TwoBranchDetector.encode
    monkeypatch.setattr(
        TwoBranchDetector, "encode", lambda self, mel, video: calls.append(len(mel)) or encode(self, mel, video)
    )
    filled(root, np.arange(4, 14)).close()
    assert sum(calls) == 1 + 4  # one for the shapes
    counted: list[int] = []
    filled(root, np.arange(14), advance=counted.append).close()
    assert counted == []


def test_loader_processes_change_nothing(root, undisturbed):
    kept = filled(root, workers=2)
    kept.close()
    assert content(kept.root) == undisturbed


def test_order_of_computation_changes_nothing(root, undisturbed):
    for start in (BLOCK, 0):
        kept = filled(root, np.arange(start, len(ElementStore(root))))
        kept.close()
    assert content(kept.root) == undisturbed


def test_every_dependency_changes_the_folder(root, monkeypatch):
    def open_with(**changes):
        backbone_cache.open_cache(ElementStore(root), encoder(**changes)).close()
        return len(folders(root))

    assert open_with() == 1
    assert open_with() == 1
    assert open_with(seed=1) == 2  # weights
    assert open_with(size=48) == 3  # image size
    assert open_with(heads=4) == 4  # same shapes of weights, another computation
    assert open_with(normalisation="unit") == 5
    with monkeypatch.context() as patch:
        patch.setattr(backbone_cache, "FRAME_CHOICE", [*range(16)])
        assert open_with() == 6
    grow(root)
    assert open_with() == 7
    texts = [path.read_text() for path in (root / backbone_cache.FOLDER).glob("*/about.json")]
    assert len({json.dumps(json.loads(text)["of"]) for text in texts}) == 7


def grow(root: Path) -> None:
    settings = json.loads((root / "store.json").read_text())["settings"]
    source = "RealVideo-RealAudio/Asian/men/id9/00000.mp4"
    clip = {"tier": "RVRA", "identities": ["id9"], "source": source, "base": source, "method": ""}
    clip |= {"race": "Asian", "gender": "men", "sha256": source}
    with ElementWriter(root, settings) as writer:
        writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": encode_audio(np.zeros(WINDOW))}])


def test_merged_index_has_the_digest_of_its_journals(root):
    digest = ElementStore(root).metas.digest()
    assert index.merge(root)
    assert ElementStore(root).metas.digest() == digest


def test_values_beyond_half_precision_name_the_element(root):
    store, big = ElementStore(root), encoder()
    big.model.visual_encoder.backbone.norm.weight.data.fill_(1e5)
    kept = backbone_cache.open_cache(store, big)
    with pytest.raises(UserError, match=r"element .*/00000_mp4/000000: its tokens are not finite as float16; train it"):
        backbone_cache.fill(kept, np.array([0, 40]), store, big)
    assert not kept.done().any()
    kept.close()


def test_too_little_space_is_refused_before_computing(root, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(array_store.shutil, "disk_usage", lambda _: Usage)
    counted: list[int] = []
    with pytest.raises(UserError, match=r"rows of 0.00 MB take .* GB are free; free some space, or set cache to false"):
        filled(root, advance=counted.append)
    assert counted == []


# ---- several processes, some killed


def fill_elsewhere(root: Path, kill_after: int) -> None:
    """Fill the cache, and kill this process after so many blocks; never with -1."""
    torch.set_num_threads(1)  # threads do not survive a fork
    blocks = []

    def advance(count: int) -> None:
        blocks.append(count)
        if len(blocks) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    store = ElementStore(root)
    kept = backbone_cache.open_cache(store, encoder())
    backbone_cache.fill(kept, np.arange(len(store)), store, encoder(), advance=advance)
    (root / f"{os.getpid()}.count").write_text(str(sum(blocks)))


def test_filling_continues_after_a_kill_to_the_same_values(root, undisturbed):
    child = FORK.Process(target=fill_elsewhere, args=(root, 3))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (folder,) = folders(root)
    assert content(root / backbone_cache.FOLDER / folder) != undisturbed
    counted: list[int] = []
    kept = filled(root, advance=counted.append)
    kept.close()
    assert 0 < sum(counted) < len(ElementStore(root))
    assert content(kept.root) == undisturbed


def test_two_processes_fill_the_cache_together(root, undisturbed):
    children = [FORK.Process(target=fill_elsewhere, args=(root, -1)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert sum(int(path.read_text()) for path in root.glob("*.count")) == len(ElementStore(root))
    (folder,) = folders(root)
    assert content(root / backbone_cache.FOLDER / folder) == undisturbed
