"""Steps of the audio chain, and equal edges, band and loudness for all versions of a recording."""

import numpy as np
import pytest

from avdfd.config import ChainConfig, ParityConfig, loading
from avdfd.core.errors import MediaError, UserError
from avdfd.features.acoustics import edge_silence, spectral_edge
from avdfd.media.audio import AudioPiece
from avdfd.media.chain import (
    AAC_FRAME,
    Edges,
    Version,
    common_edges_and_band,
    lay_out,
    limit_band,
    measure_version,
    normalise_version,
    resample,
    silence_edges,
)

RATE = 16_000
CHAIN = ChainConfig()


def white(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def tone(hertz: float, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def db(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def test_band_limit_is_flat_below_and_without_delay():
    kept, middle = tone(6_900), slice(2_000, -2_000)
    assert limit_band(kept, 7_000, RATE)[middle] == pytest.approx(kept[middle], abs=1e-3)
    assert db(limit_band(tone(7_000), 7_000, RATE)[middle]) < -95


def test_resampling():
    middle = slice(500, -500)
    assert resample(tone(440, 48_000), 48_000, CHAIN)[middle] == pytest.approx(tone(440)[middle], abs=1e-3)


def test_audio_is_laid_out_from_its_start_to_the_end_of_the_video():
    pieces = [AudioPiece(0.5, tone(500, seconds=0.5)), AudioPiece(1.5, tone(500, seconds=0.5))]
    samples = lay_out(pieces, 1.75, CHAIN)
    assert len(samples) == round(20_000 / AAC_FRAME) * AAC_FRAME
    assert db(samples[400:7_600]) == pytest.approx(-3, abs=0.1)
    assert db(samples[8_400:15_600]) < -60
    assert db(samples[16_400:19_600]) == pytest.approx(-3, abs=0.1)
    assert not samples[20_400:].any()
    assert len(lay_out(pieces, 3.0, CHAIN)) == round(40_000 / AAC_FRAME) * AAC_FRAME


@pytest.mark.parametrize("end", [1.0, 0.2])
def test_silent_audio_is_rejected(end):
    with pytest.raises(MediaError, match="silent audio"):
        lay_out([AudioPiece(0.5, np.zeros(8_000, np.float32))], end, CHAIN)


def test_edges_are_silenced_with_fades_and_the_rest_is_unchanged():
    samples = np.ones(RATE, np.float32)
    out = silence_edges(samples, Edges(0.25, 0.1), RATE)
    assert not out[:4_000].any()
    assert not out[-1_600:].any()
    assert (np.diff(out[4_000:4_080]) > 0).all()
    assert (out[4_080:-1_680] == 1).all()
    assert not silence_edges(samples, Edges(0.6, 0.6), RATE)[:: RATE - 1].any()


def test_common_edges_and_band_are_the_longest_silence_and_the_narrowest_band():
    first, second = Version("0011", "1111", 7_500.0), Version("0001", "0111", 5_000.0)
    assert common_edges_and_band([first], CHAIN) == (Edges(0.02, 0.0), 7_000.0)
    assert common_edges_and_band([first, second], CHAIN) == (Edges(0.03, 0.01), 5_000.0)
    assert common_edges_and_band([second, first], CHAIN) == common_edges_and_band([first, second], CHAIN)


def test_edge_ends_where_all_versions_are_loud():
    """One version may pause where another begins; the common edge is then longer than either."""
    assert (
        common_edges_and_band([Version("0010", "1", 1e4), Version("1101", "1", 1e4)], CHAIN)[0].lead == CHAIN.max_edge
    )
    assert common_edges_and_band([Version("00101", "1", 1e4), Version("11011", "1", 1e4)], CHAIN)[0].lead == 0.04


def test_common_edges_and_band_are_bounded():
    edges, band = common_edges_and_band([Version("0" * 100, "1", 1_000.0)], CHAIN)
    assert (edges, band) == (Edges(CHAIN.max_edge, 0.0), CHAIN.least_band)


def versions() -> list[np.ndarray]:
    """Return a recording, and a version that is louder, band-limited, starts later and ends earlier."""
    real, fake = white(3.0), 4 * limit_band(white(3.0, seed=1), 5_000, RATE)
    real[:1_600] *= 1e-3
    fake[:4_800] = 0
    fake[-3_200:] = 0
    return [real, fake]


def test_versions_get_equal_edges_band_and_loudness():
    laid = [lay_out([AudioPiece(0.0, samples)], 3.0, CHAIN) for samples in versions()]
    edges, band = common_edges_and_band([measure_version(samples, CHAIN) for samples in laid], CHAIN)
    out = [normalise_version(samples, edges, band, "a", CHAIN) for samples in laid]
    assert (edges.lead, band) == (pytest.approx(0.3, abs=0.011), 5_000)
    assert abs(db(out[0]) - CHAIN.loudness) <= CHAIN.loudness_spread
    assert db(out[1]) == pytest.approx(db(out[0]), abs=0.02)
    assert edge_silence(out[1], RATE) == pytest.approx(edge_silence(out[0], RATE), abs=0.011)
    quiet = ChainConfig(noise=-80.0)
    assert {spectral_edge(normalise_version(samples, edges, band, "a", quiet), RATE) for samples in laid} == {5_000}
    # At the edges only the noise remains, equal in both versions.
    start, end = slice(0, 4_000), slice(-2_800, None)
    for part in (start, end):
        assert db(out[0][part]) == pytest.approx(CHAIN.noise, abs=0.5)
        assert out[0][part] == pytest.approx(out[1][part], abs=1e-6)


def test_loudness_and_noise_depend_on_the_recording_alone():
    samples = lay_out([AudioPiece(0.0, white(1.0))], 1.0, CHAIN)
    first, again, other = (normalise_version(samples, Edges(), 7e3, name, CHAIN) for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert db(first) != pytest.approx(db(other), abs=0.01)


def test_edges_of_audio_files_are_drawn_by_the_recording():
    """Pages whose recordings begin after 0 s and after 0.8 s of silence do not differ afterwards."""
    chain, lengths = ChainConfig(edge_silence=[0.05, 0.25]), []
    for silence in (0.0, 0.8):
        for name in "abcdefgh":
            samples = white(2.0)
            samples[: round(silence * RATE)] = 0
            laid = lay_out([AudioPiece(0.0, samples)], 2.0, chain)
            edges, band = common_edges_and_band([measure_version(laid, chain)], chain)
            out = normalise_version(laid, edges, band, name, chain, trim=True)
            lead, trail = edge_silence(out, RATE)
            assert 0.05 <= lead <= 0.26
            assert 0.05 <= trail <= 0.26 + AAC_FRAME / RATE
            assert len(out) % AAC_FRAME == 0
            assert np.array_equal(out, normalise_version(laid, edges, band, name, chain, trim=True))
            lengths.append((silence, lead))
    leads = {silence: [lead for one, lead in lengths if one == silence] for silence in (0.0, 0.8)}
    assert leads[0.0] == pytest.approx(leads[0.8], abs=0.011), "the draw depends on the recording alone"
    assert len(set(leads[0.0])) > 4
    kept = normalise_version(laid, edges, band, "h", chain)
    assert len(kept) == len(laid), "a video keeps its length"
    with pytest.raises(MediaError, match="silent audio between its edges"):
        normalise_version(white(1.0), Edges(0.6, 0.6), 7e3, "a", chain, trim=True)


def test_peaks_are_clipped():
    samples = np.zeros(RATE * 2, np.float32)
    samples[8_000:8_010] = 1.0
    assert np.abs(normalise_version(samples, Edges(), 7e3, "a", CHAIN)).max() == 1.0


def test_silence_between_the_edges_is_rejected():
    with pytest.raises(MediaError, match="silent audio between its edges"):
        normalise_version(white(1.0), Edges(0.6, 0.6), 7e3, "a", CHAIN)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("band", 7_000.0, "band 7000 Hz leaves no room"),
        ("least_band", 7_500.0, "least_band 7500 Hz is above band"),
        ("edge_silence", [0.3, 0.1], "the shortest silence is longer than the longest"),
        ("noise", -50.0, "noise -50 dB must be 30 dB or more below"),
    ],
)
def test_contradictory_settings_are_rejected(key, value, message):
    chain = {key: value} | ({"rate": 8_000} if key == "band" else {})
    with pytest.raises(UserError, match=message):
        loading.parse({"kind": "parity", "input": "a", "output": "b", "chain": chain}, ParityConfig, "c.json")
