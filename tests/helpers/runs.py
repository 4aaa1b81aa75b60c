"""Small stores and runs on disk for the tests of scripts: random weights, audio and frames."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avdfd.config import MediaConfig, PretrainConfig, TrainConfig, parse
from avdfd.core.files import BEST
from avdfd.core.tiers import tier
from avdfd.elements import ElementWriter
from avdfd.elements.form import LANDMARKS, encode_audio, encode_frame, encode_landmarks
from avdfd.features.mouth_shape import LIPS, USED
from avdfd.features.window import FACE_SIZE, FPS, FRAMES, SAMPLE_RATE, WINDOW
from avdfd.inference.runs import load_run
from avdfd.training import weights
from avdfd.training.build import build_audio_net, build_detector
from avdfd.training.meter import SPEED
from avdfd.training.weights import RunFacts

SPLITS = {"train": ["id1", "id2"], "validation": ["id3", "id4"], "test": ["id5", "id6", "id7"]}
TIERS = ("RVRA", "RVFA", "FVRA", "RVFA-VC")

AUDIO = {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "projection_dim": 8}
STATISTICS = {"dim": 16, "depth": 0, "projection_dim": 8, "patches": "statistics"}
"""Config of an audio branch on statistics of the mel."""
SPECTRA = {**STATISTICS, "input": "waveform", "spectra": [256, 1024]}
"""Config of an audio branch on the waveform."""
VISUAL = {"init": "random", "image_size": 32, "dim": 16, "depth": 1, "heads": 2}


def landmarks_of(waveform: np.ndarray) -> np.ndarray:
    """Return landmarks (77, 71, 3) of a window, in which the lips follow the loudness of the audio."""
    loudness = np.log10(np.square(np.resize(waveform, (FRAMES, SAMPLE_RATE // FPS))).mean(axis=1) + 1e-6)
    face = np.random.default_rng(1).uniform(20, 200, (len(USED), 3))
    lips = np.isin(USED, LIPS)[:, None] * np.array([0.0, 1.0, 0.0])
    return face + 20 * (loudness - loudness.mean())[:, None, None] * lips


def make_store(root: Path, whole: Sequence[int] = (), *, landmarks: bool = False) -> Path:
    """Write elements and split lists: a clip of two windows for every identity of SPLITS and tier of TIERS.

    With `whole`, each is one whole clip of these numbers of frames, in turn. With `landmarks`, windows have those of
    `landmarks_of`, and audio whose loudness changes from frame to frame.
    """
    lengths = itertools.cycle(whole)
    settings: dict[str, Any] = {}
    if whole:
        settings = {"media.whole": True, "media.max_seconds": max(whole) / FPS, "media.keep": ["waveform", "frames"]}
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (FACE_SIZE // 8, FACE_SIZE // 8, 3), np.uint8) for _ in range(5)]
    jpegs = [encode_frame(np.kron(image, np.ones((8, 8, 1), np.uint8)), 90) for image in images]
    with ElementWriter(root / "elements", {"made": "up", **settings}) as writer:
        for identity in (one for identities in SPLITS.values() for one in identities):
            for name in TIERS:
                source = f"{tier(name).folder}/Asian/men/{identity}/00000.mp4"
                clip = {"tier": name, "identities": [identity], "source": source, "base": source, "method": ""}
                clip |= {"race": "Asian", "gender": "men", "sha256": source}
                windows = []
                for start in (0.0,) if whole else (0.0, 1.0):
                    steps, samples = FRAMES, WINDOW
                    if whole:
                        steps = next(lengths)
                        samples = steps * SAMPLE_RATE // FPS
                    waveform = rng.uniform(-0.5, 0.5, samples) * rng.random()
                    if landmarks:
                        waveform *= np.resize(rng.uniform(0.05, 1, FRAMES).repeat(SAMPLE_RATE // FPS), samples)
                    audio = encode_audio(waveform, mel=not whole)
                    audio |= {LANDMARKS: encode_landmarks(landmarks_of(waveform))} if landmarks else {}
                    mjpeg = b"".join(jpegs[i] for i in rng.integers(0, 5, steps))
                    end = start + samples / SAMPLE_RATE
                    windows.append({"start": start, "end": end, "parts": {**audio, "mjpeg": mjpeg}})
                writer.add(clip, windows)
    (root / "splits").mkdir()
    for split, identities in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(identities))
    return root


def make_talking_store(root: Path) -> Path:
    """Write a store with landmarks as `make_store`, and split lists with enough identities for stage 2a."""
    make_store(root, landmarks=True)
    for split, names in {"train": "id1 id2 id3 id4", "validation": "id5 id6", "test": "id7"}.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names.split()))
    return root


def data_section(data: Path, *tiers: str) -> dict[str, Any]:
    """Return the `data` section of a config: the elements and lists of `make_store`, with these fake tiers."""
    return {
        "elements": str(data / "elements"),
        "splits": str(data / "splits"),
        "fake_tiers": list(tiers),
        "workers": 0,
    }


def make_run(
    root: Path,
    kind: str,
    data: Path | None = None,
    audio: dict[str, Any] = AUDIO,
    media: MediaConfig | None = None,
) -> Path:
    """Write a run folder with the weights of an untrained model; `data` is the folder of `make_store`."""
    data = data or root
    common = {"name": kind, "runs": str(root), "data": data_section(data, "RVFA")}
    stage1 = parse({**common, "model": audio}, PretrainConfig, "test")
    config: PretrainConfig | TrainConfig = stage1
    if kind == "train":
        sizes = {"visual": VISUAL, "predictor": {"depth": 1, "heads": 2}}
        config = parse({**common, **sizes, "audio": "stage1"}, TrainConfig, "test")
    torch.manual_seed(0)
    model = build_detector(config, stage1.model) if isinstance(config, TrainConfig) else build_audio_net(stage1.model)
    facts = RunFacts(config=config, audio_model=stage1.model, git="unknown", media=media)
    weights.save(root / kind / BEST, model.state_dict(), facts)
    return root / kind


def write_config(folder: Path, data: Path, kind: str, name: str, tiers: list[str], values: dict[str, Any]) -> list[str]:
    """Write the config of a run on the data of `make_store`; return the arguments that name it."""
    common = {
        "kind": kind,
        "name": name,
        "runs": str(folder / "runs"),
        "device": "cpu",
        "data": data_section(data, *tiers),
    }
    path = folder / f"{kind}.json"
    path.write_text(json.dumps({**common, **values}))
    return ["--config", str(path)]


def make_both_stages(root: Path, data: Path | None = None) -> tuple[Path, Path]:
    """Write runs of stage 1 and of a stage 2 with its encoder by `make_run`."""
    stage1, run = make_run(root, "pretrain", data), make_run(root, "train", data)
    _, ours = weights.load(stage1 / BEST, "pretrain")
    facts, model = weights.load(run / BEST, "train")
    model = {key: ours.get(key.removeprefix("audio_"), value) for key, value in model.items()}
    cfg = facts.config.model_copy(update={"audio": str(stage1)})
    weights.save(run / BEST, model, facts.model_copy(update={"config": cfg}))
    return stage1, run


def epochs(run):
    """Return the recorded numbers of a run without the times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in SPEED} for line in lines]


def log(run):
    return (run / "log.txt").read_text()


def state(run):
    return load_run(run, "cpu").model.state_dict()
