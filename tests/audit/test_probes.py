"""The shortcut probes: a planted cue is caught, no cue gives chance, and what is measured is what was written."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.errors import MediaError
from avdfd.probes import CUES, measure, probe_auc, run_probes

RATE = 16_000


def write_clip(path: Path, sound: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(seconds: float, level: float, rng: np.random.Generator, edge: float = 0.0) -> np.ndarray:
    sound = level * rng.standard_normal(round(seconds * RATE))
    if edge:
        sound[: round(edge * RATE)] *= 1e-3
    return sound


@pytest.fixture
def draws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and identities of 30 people with two real and two fake clips each, and a cue without information."""
    labels = np.tile([0, 0, 1, 1], 30)
    groups = np.repeat(np.arange(30), 4)
    return labels, groups, np.random.default_rng(0).normal(5, 1, len(labels))


def test_planted_cue_is_caught(draws):
    labels, groups, cue = draws
    assert probe_auc(cue + 4 * labels, labels, groups) > 0.9
    assert probe_auc(cue - 4 * labels, labels, groups) > 0.9


def test_unusual_spread_is_caught(draws):
    labels, groups, cue = draws
    assert probe_auc(5 + (cue - 5) * np.where(labels == 1, 20.0, 1.0), labels, groups) > 0.9


def test_no_cue_is_chance(draws):
    labels, groups, _ = draws
    rng = np.random.default_rng(1)
    aucs = [probe_auc(rng.standard_normal(len(labels)), labels, groups) for _ in range(20)]
    assert abs(np.mean(aucs) - 0.5) < 0.05


def test_constant_cue_is_chance(draws):
    labels, groups, _ = draws
    assert probe_auc(np.full(len(labels), 16_000.0), labels, groups) == 0.5


def test_cue_that_names_the_identity_is_no_shortcut(draws):
    """Values shared by a person's real and fake clips say nothing about another person."""
    labels, groups, _ = draws
    assert probe_auc(np.random.default_rng(2).normal(0, 1, 30)[groups], labels, groups) == pytest.approx(0.5)


def test_units_of_a_cue_do_not_matter(draws):
    labels, groups, cue = draws
    assert probe_auc(1e6 * cue, labels, groups) == pytest.approx(probe_auc(cue, labels, groups))


@pytest.mark.parametrize(("labels", "groups"), [([1, 1, 1, 1], [0, 0, 1, 1]), ([0, 1, 0, 1], [0, 0, 0, 0])])
def test_one_class_or_one_group_is_an_error(labels, groups):
    with pytest.raises(ValueError, match="both classes"):
        probe_auc([1, 2, 3, 4], labels, groups)


def test_measure(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(3.0, 0.1, np.random.default_rng(0), edge=0.5))
    cues = measure(path)
    assert tuple(cues) == CUES
    assert cues["duration"] == pytest.approx(3.0, abs=0.07)
    assert cues["loudness"] == pytest.approx(20 * np.log10(0.1 * np.sqrt(2.5 / 3)), abs=0.7)
    assert cues["edge_silence"] == pytest.approx(0.5, abs=0.05)
    assert cues["file_size"] == path.stat().st_size
    assert cues["bit_rate"] == pytest.approx(8 * cues["file_size"] / cues["duration"])
    assert cues["sample_rate"] == RATE
    assert cues["spectral_edge"] == RATE / 2


def test_unreadable_media(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a film")
    with pytest.raises(MediaError, match="cannot be read"):
        measure(text)


def test_run_probes_names_the_guilty_cue(tmp_path):
    """Fakes that are only louder: loudness is caught, and the tiers and cues are all there."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(10):
        for tier, gain in (("RVRA", 1.0), ("RVFA", 4.0), ("FVRA", 1.0)):
            sound = noise(1.0, gain * rng.uniform(0.02, 0.04), rng)
            rows.append((write_clip(tmp_path / f"{person}{tier}.mp4", sound), tier, f"id{person}"))
    table = run_probes(rows)
    assert set(table) == {"RVFA", "FVRA"}
    assert all(tuple(cues) == CUES for cues in table.values())
    assert table["RVFA"]["loudness"] > 0.9
    assert table["FVRA"]["loudness"] < 0.8
    assert table["RVFA"]["sample_rate"] == 0.5
