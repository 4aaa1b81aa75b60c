"""Each planted cue is found, and is removed by codec parity; the script reports it."""

from pathlib import Path

import numpy as np
import pytest

from avdfd.config import ChainConfig
from avdfd.core.errors import UserError
from avdfd.core.workers import Failure
from avdfd.corpora.parity import Task, make, measure
from avdfd.elements.form import encode_wav
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


def write_audio(root: Path) -> Path:
    """Write audio alone, with the table of a collection: a recording of each speaker and a louder fake of it."""
    rng = np.random.default_rng(0)
    rows = ["file,label,method,speaker,pair_id,source_repo,notes"]
    for number in range(IDENTITIES):
        samples = speech(rng)
        for label, audio in (("bonafide", samples), ("fake", 3 * samples)):
            file = root / label / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_wav(audio, RATE))
            rows.append(f"{label}/{number}.wav,{label},x,s{number},{number},page,kind=copysyn")
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


def test_a_collection_of_audio_alone_is_probed(tmp_path, serial, capsys):
    assert probe_shortcuts.main(["--root", str(write_audio(tmp_path))]) == 0
    header, row = capsys.readouterr().out.splitlines()
    cells = dict(zip(header.split()[1:], row.split()[1:], strict=True))
    assert row.split()[0] == "RVFA-SVC"
    assert cells.keys() == {*probe_shortcuts.CUES, "identity"}
    assert float(cells["loudness"]) > 0.9
    same = ("duration", "file_size", "bit_rate", "sample_rate", "tags", "identity")
    assert {cells[name] for name in same} == {"0.500"}, "equal for both"
    assert probe_shortcuts.main(["--root", str(tmp_path), "--max", "0.6"]) == 1
    assert f"loudness of RVFA-SVC ({cells['loudness']})" in capsys.readouterr().err


def test_audio_beside_videos_is_left_out(video, tmp_path, serial, capsys):
    pairs = write(video, tmp_path, "loudness")
    pairs[0][1].with_name("00002.wav").write_bytes(encode_wav(speech(np.random.default_rng(1)), RATE))
    assert probe_shortcuts.main(["--root", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    place = "RealVideo-RealAudio/African/men/id00000/00002.wav"
    assert first == f"left out: {place}: an audio file, where videos are read"


def test_wrong_requests(video, tmp_path, serial):
    with pytest.raises(UserError, match="--max an AUC from 0.5 to 1"):
        probe_shortcuts.main(["--root", str(tmp_path), "--max", "60"])
    real = tmp_path / "RealVideo-RealAudio" / "African" / "men" / "id00000" / "00001.mp4"
    replace_audio(video, speech(np.random.default_rng(0)), real, CHAIN)
    with pytest.raises(UserError, match="probes need readable real clips and fakes; there are RVRA"):
        probe_shortcuts.main(["--root", str(tmp_path)])
