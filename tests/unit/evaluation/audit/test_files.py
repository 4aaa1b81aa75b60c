"""Cues of media files are those that were written."""

import numpy as np
import pytest

from avdfd.core.errors import MediaError, UserError
from avdfd.evaluation.audit.files import CUES, check, measure
from avdfd.evaluation.audit.probes import Clip, probe_tiers
from tests.helpers.audit_corpus import write_clip

RATE = 16_000


def noise(seconds: float, level: float, rng: np.random.Generator, edge: float = 0.0) -> np.ndarray:
    samples = level * rng.standard_normal(round(seconds * RATE))
    if edge:
        samples[: round(edge * RATE)] *= 1e-3
    return samples


def test_sources_that_lead_out_of_the_root(tmp_path):
    (tmp_path / "a.mp4").touch()
    check(tmp_path, ["a.mp4"])
    for source in ("../a.mp4", str(tmp_path / "a.mp4")):
        with pytest.raises(UserError, match="leads out of its root"):
            check(tmp_path, [source])


def test_measure(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(3.0, 0.1, np.random.default_rng(0), edge=0.5), artist="somebody")
    cues = measure(path)
    assert tuple(cues) == CUES
    assert cues["duration"] == pytest.approx(3.0, abs=0.07)
    assert cues["loudness"] == pytest.approx(20 * np.log10(0.1 * np.sqrt(2.5 / 3)), abs=0.7)
    assert cues["edge_silence"] == pytest.approx(0.5, abs=0.05)
    assert cues["file_size"] == path.stat().st_size
    assert cues["bit_rate"] == pytest.approx(8 * cues["file_size"] / cues["duration"])
    assert cues["sample_rate"] == RATE
    assert cues["spectral_edge"] == RATE / 2
    assert {"artist", "artist=somebody", "audio.name=aac", "audio.profile=LC"} <= cues["tags"]


def test_unreadable_media(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a film")
    with pytest.raises(MediaError, match="cannot be read"):
        measure(text)


def test_probes_name_the_guilty_cue(tmp_path):
    """Fakes that differ in loudness only, or in the encoder only."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(10):
        for tier, gain, tags in (("RVRA", 1.0, {}), ("RVFA", 4.0, {}), ("FVRA", 1.0, {"comment": "made by x"})):
            samples = noise(1.0, gain * rng.uniform(0.02, 0.04), rng)
            path = write_clip(tmp_path / f"{number}{tier}.mp4", samples, **tags)
            clips.append(Clip(tier, (f"id{number}",), str(number), measure(path)))
    table = probe_tiers(clips).table
    assert set(table) == {"RVFA", "FVRA"}
    assert all(tuple(cues) == (*CUES, "identity") for cues in table.values())
    assert table["RVFA"]["loudness"].auc > 0.9
    assert table["FVRA"]["loudness"].auc < 0.8
    assert table["RVFA"]["sample_rate"].auc == 0.5
    assert table["RVFA"]["tags"].auc == 0.5
    assert table["FVRA"]["tags"].shortcut
