"""Each planted cue is found, and is removed by codec parity; the script reports it."""

from pathlib import Path

import numpy as np
import pytest

from avdfd.config import ChainConfig
from avdfd.core.errors import UserError
from avdfd.core.workers import Failure
from avdfd.corpora.parity import Task, make, measure
from avdfd.evaluation.audit.files import measure as cues_of
from avdfd.evaluation.audit.probes import probe_auc
from avdfd.media.chain import common_edges_and_band, limit_band
from avdfd.media.remux import replace_audio
from data.preprocessing import probe_shortcuts
from tests.helpers.videos import make_video

RATE = 16_000
IDENTITIES = 10
CHAIN = ChainConfig()


def speech(rng: np.random.Generator) -> np.ndarray:
    """Return 1 s of noise with random loudness and a silent start of random length."""
    samples = rng.uniform(0.02, 0.06) * rng.standard_normal(RATE)
    samples[: round(rng.uniform(0.02, 0.06) * RATE)] = 0
    return samples.astype(np.float32)


def plant(cue: str, samples: np.ndarray) -> tuple[np.ndarray, ChainConfig]:
    """Return the audio of a fake and its encoding."""
    if cue == "loudness":
        return 4 * samples, CHAIN
    if cue == "edge_silence":
        return np.concatenate([np.zeros(3_200, np.float32), samples[:-3_200]]), CHAIN
    if cue == "spectral_edge":
        return limit_band(samples, 5_000, RATE), CHAIN
    if cue == "duration":
        return np.concatenate([samples, samples[-4_800:]]), CHAIN
    if cue == "sample_rate":
        return np.repeat(samples, 2), ChainConfig(rate=32_000)
    return samples, ChainConfig(bit_rate=16_000)  # for bit_rate and file_size


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4", 1.0, size=32)


def write(video: Path, root: Path, cue: str) -> list[tuple[str, Path, Path]]:
    """Write a real and a fake clip of each identity in FakeAVCeleb's folders; return identity and both paths."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(IDENTITIES):
        folders = (root / name / "African" / "men" for name in ("RealVideo-RealAudio", "RealVideo-FakeAudio"))
        real, fake = (folder / f"id{number:05d}" / "00001.mp4" for folder in folders)
        samples = speech(rng)
        planted, chain = plant(cue, samples)
        replace_audio(video, samples, real, CHAIN)
        replace_audio(video, planted, fake, chain)
        pairs.append((f"id{number:05d}", real, fake))
    return pairs


def auc(pairs: list[tuple[str, Path, Path]], cue: str) -> float:
    values = [cues_of(path)[cue] for _, *paths in pairs for path in paths]
    return probe_auc(values, [0, 1] * len(pairs), np.repeat([identity for identity, *_ in pairs], 2))


@pytest.mark.parametrize(
    "cue", ["duration", "loudness", "edge_silence", "file_size", "bit_rate", "sample_rate", "spectral_edge"]
)
def test_planted_cue_is_found_and_removed_by_parity(video, tmp_path, cue):
    pairs = write(video, tmp_path / "planted", cue)
    assert auc(pairs, cue) > 0.9
    after = []
    for identity, *paths in pairs:
        edges, band = common_edges_and_band([measure(path, CHAIN).version for path in paths], CHAIN)
        outs = [tmp_path / "parity" / path.relative_to(tmp_path / "planted") for path in paths]
        for path, out in zip(paths, outs, strict=True):
            make(Task(path, out, path.name, identity, edges, band, has_video=True), CHAIN)
        after.append((identity, *outs))
    assert auc(after, cue) <= 0.6


@pytest.fixture
def serial(monkeypatch):
    def run(function, items, *, workers, time_limit):
        for path in items:
            yield path, Failure("broken") if path.stat().st_size == 0 else function(path)

    monkeypatch.setattr(probe_shortcuts, "run_killable", run)


def test_script_prints_the_table_and_names_shortcuts(video, tmp_path, serial, capsys):
    pairs = write(video, tmp_path, "loudness")
    pairs[0][1].with_name("00002.mp4").write_bytes(b"")
    assert probe_shortcuts.main(["--root", str(tmp_path)]) == 0
    left_out, header, row = capsys.readouterr().out.splitlines()
    assert left_out == "left out: RealVideo-RealAudio/African/men/id00000/00002.mp4: broken"
    assert header.split() == ["AUC", *probe_shortcuts.CUES, "identity"]
    assert row.split()[0] == "RVFA"
    loudness = float(row.split()[2])
    assert loudness > 0.9
    assert probe_shortcuts.main(["--root", str(tmp_path), "--max", "0.6"]) == 1
    assert f"shortcuts above 0.6: loudness of RVFA ({loudness:.3f})" in capsys.readouterr().err


def test_wrong_requests(video, tmp_path, serial):
    with pytest.raises(UserError, match="--max an AUC from 0.5 to 1"):
        probe_shortcuts.main(["--root", str(tmp_path), "--max", "60"])
    real = tmp_path / "RealVideo-RealAudio" / "African" / "men" / "id00000" / "00001.mp4"
    replace_audio(video, speech(np.random.default_rng(0)), real, CHAIN)
    with pytest.raises(UserError, match="probes need readable real clips and fakes; there are RVRA"):
        probe_shortcuts.main(["--root", str(tmp_path)])
