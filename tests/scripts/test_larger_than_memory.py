"""Training on a store that is larger than the memory that a process may allocate."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avdfd.core.tiers import tier
from avdfd.elements import ElementWriter
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.features.window import FACE_SIZE, FRAMES, WINDOW
from tests.paths import ROOT

ALLOWED = 24_000_000
"""Bytes that may be allocated in addition to those of the model and of the first steps."""
CLIPS = 48
TRAIN = """
import resource, sys
import cv2, torch
import train
from avdfd.config import TrainConfig, parse
from avdfd.datasets.batches import open_batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.training.optim import adamw
from tests.helpers.models import small_two_branch

root, allowed = sys.argv[1], int(sys.argv[2])
cv2.setNumThreads(1)
torch.set_num_threads(1)
data = {"elements": root, "splits": "none", "fake_tiers": ["RVFA"], "workers": 0}
cfg = parse({"name": "test", "audio": "none", "data": data}, TrainConfig, "test")
store, model = ElementStore(root), small_two_branch()
elements = ElementSet(store, store.metas, Inputs(32))
order = Shared(Shuffled(len(store), 2, 0))
(batches,) = open_batches(cfg.data, torch.device("cpu"), (elements, order))
optimizer = adamw([(model.parameters(), 1.0)], cfg.optim)

def epoch(number, steps=None):
    order.start(number, 0)
    for count, (_, batch) in enumerate(batches, 1):
        loss = train.stage2_loss(cfg, model(*batch.model_inputs), batch.label, batch.fake_modalities)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if count == steps:
            return
    print(float(loss))

epoch(0, steps=3)
status = dict(line.split(":") for line in open("/proc/self/status"))
now = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (now + allowed, resource.RLIM_INFINITY))
epoch(1)
epoch(2)
try:
    bytearray(5 * allowed)
except MemoryError:
    print("limited")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store of five times the bytes that may be allocated."""
    root, rng = tmp_path_factory.mktemp("large") / "elements", np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 256, (28, 28, 3)), np.ones((8, 8, 1)))
    noisy = np.clip(coarse + rng.normal(0, 8, (FACE_SIZE, FACE_SIZE, 3)), 0, 255).astype(np.uint8)
    parts = {**encode_audio(rng.uniform(-0.5, 0.5, WINDOW)), "mjpeg": encode_frame(noisy, 95) * FRAMES}
    with ElementWriter(root, {"made": "up"}) as writer:
        for number in range(CLIPS):
            name = ("RVRA", "RVFA")[number % 2]
            source = f"{tier(name).folder}/id{number:05d}/0.mp4"
            clip = {"tier": name, "identities": [f"id{number:05d}"], "source": source, "base": source, "method": ""}
            clip |= {"race": "", "gender": "", "sha256": source}
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": parts}])
    return root


def test_a_store_larger_than_memory_is_trained_on(store):
    assert sum(path.stat().st_size for path in store.iterdir()) > 5 * ALLOWED
    command = [sys.executable, "-c", TRAIN, str(store), str(ALLOWED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *losses, end = done.stdout.split()
    assert len(losses) == 2, "epochs under the limit"
    assert all(np.isfinite(float(loss)) for loss in losses)
    assert end == "limited"
