"""Cues and differences between the tiers of the built-in corpus: those that are meant, and no others."""

from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.core.tiers import FVFA, FVRA, RVFA, RVFA_SVC, RVFA_VC, RVRA
from avdfd.evaluation.audit import probes
from avdfd.evaluation.audit.elements import frame_statistics
from avdfd.evaluation.audit.files import measure
from avdfd.evaluation.audit.probes import Clip
from data.corpus.clips import METHODS
from data.preprocessing import codec_parity
from tests.helpers.demo_corpus import IDENTITIES, clips, grey_frames, packets, samples_of
from tests.paths import ROOT


def test_versions_of_a_recording_have_equal_cues(corpus):
    """Cues differ between recordings, not between tiers."""
    real = [measure(p) for p in clips(corpus, RVRA)]
    for tier in METHODS:
        for cues, own in zip((measure(p) for p in clips(corpus, tier)), real, strict=True):
            assert cues["duration"] == own["duration"]
            assert cues["sample_rate"] == own["sample_rate"]
            assert cues["loudness"] == pytest.approx(own["loudness"], abs=0.3)
            assert cues["edge_silence"] == pytest.approx(own["edge_silence"], abs=0.12)
            assert cues["file_size"] == pytest.approx(own["file_size"], rel=0.03)
            assert cues["bit_rate"] == pytest.approx(own["bit_rate"], rel=0.03)


def cues_of(root: Path) -> list[Clip]:
    """Measure the cues of a corpus; versions of one recording share the first letters of its name."""
    rows = [(tier, path) for tier in METHODS for path in clips(root, tier, IDENTITIES)]
    return [
        Clip(tier.name, (path.parent.name,), f"{path.parent.name}/{path.stem.split('_')[0]}", measure(path))
        for tier, path in rows
    ]


def separating(measured: list[Clip]) -> set[tuple[str, str]]:
    """Return tier and name of the cues that separate fakes from real clips."""
    table = probes.probe_tiers(measured).table
    return {(tier, cue) for tier, cues in table.items() for cue, one in cues.items() if one.auc > 0.60}


def test_no_cue_separates_fakes_from_real_clips(corpus, tmp_path, monkeypatch):
    # AUC is measured within folds, where a fake and its original that differ by next to nothing are one pair in all
    # pairs: two folds of 6 identities have 12 x 12, five would have about 5 x 5.
    monkeypatch.setattr(probes, "_FOLDS", 2)
    monkeypatch.setattr(probes, "_EXCHANGES", 1)  # a high AUC counts here, whether by chance or not
    measured = cues_of(corpus)
    assert {clip.tier for clip in measured} == {tier.name for tier in METHODS}
    # WORLD removes the top of the spectrum; codec parity must remove it from all tiers.
    assert separating(measured) <= {(tier, "spectral_edge") for tier in ("RVFA-VC", "RVFA-SVC", "FVFA")}

    places = [f"--input={corpus}", f"--output={tmp_path / 'parity'}"]
    assert codec_parity.main(["--config", str(ROOT / "config" / "codec_parity.json"), *places]) == 0
    measured = cues_of(tmp_path / "parity")
    assert separating(measured) == set()

    some = [clip for clip in measured if clip.tier in (RVRA.name, FVRA.name)]
    for cue in ("duration", "loudness", "edge_silence", "file_size", "bit_rate"):
        shift = 0.5 * np.std([clip.cues[cue] for clip in some], axis=0)
        moved = {RVRA.name: 0 * shift, FVRA.name: shift}
        planted = [clip._replace(cues={cue: clip.cues[cue] + moved[clip.tier]}) for clip in some]
        assert separating(planted) == {(FVRA.name, cue)}, "a shift of half a standard deviation is found"


def look_of(path: Path) -> dict[str, np.ndarray]:
    """Return what a clip shows without its audio: a frame before the speech, one amid it, and how the mouth moves."""
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    mouth = np.stack([f.to_ndarray(format="gray")[128:200, 64:160] for f in decoded]).astype(np.float32)
    moved = np.log(np.abs(np.diff(mouth, axis=0)).mean(axis=(1, 2)) + 0.1)  # a frame may repeat the last
    spectrum = np.abs(np.fft.rfft(moved - moved.mean(), 128))
    bands = np.log([spectrum[k : k + 8].mean() for k in range(0, 64, 8)])
    frames = {name: frame_statistics(decoded[k].to_ndarray(format="rgb24")) for name, k in (("first", 0), ("amid", 60))}
    return frames | {"movement": np.concatenate([[moved.mean(), moved.std()], np.quantile(moved, (0.1, 0.9)), bands])}


def test_video_alone_does_not_separate_fakes_from_real_clips(corpus):
    measured = []
    for tier in (RVRA, FVRA):
        for path in clips(corpus, tier, IDENTITIES):
            base = f"{path.parent.name}/{path.stem.split('_')[0]}"
            measured.append(Clip(tier.name, (path.parent.name,), base, look_of(path)))
    table = probes.probe_tiers(measured).table[FVRA.name]
    assert not [cue for cue, one in table.items() if one.shortcut], table

    shift = np.std([clip.cues["movement"] for clip in measured], axis=0)
    moved = {RVRA.name: 0 * shift, FVRA.name: shift}
    planted = [clip._replace(cues={"movement": clip.cues["movement"] + moved[clip.tier]}) for clip in measured]
    assert probes.probe_tiers(planted).table[FVRA.name]["movement"].shortcut


def test_fake_videos_are_the_same_with_real_and_fake_audio(corpus):
    for path, other in zip(clips(corpus, FVFA), clips(corpus, FVRA), strict=True):
        assert packets(path) == packets(other)
        assert np.corrcoef(samples_of(path), samples_of(other))[0, 1] < 0.95


def test_real_video_is_shared_and_fake_audio_differs(corpus):
    for tier in (RVFA, RVFA_VC, RVFA_SVC):
        for path, own in zip(clips(corpus, tier), clips(corpus, RVRA), strict=True):
            assert packets(path) == packets(own)
            assert np.corrcoef(samples_of(path), samples_of(own))[0, 1] < 0.95
    for path, own in zip(clips(corpus, FVRA), clips(corpus, RVRA), strict=True):
        assert np.corrcoef(samples_of(path), samples_of(own))[0, 1] > 0.98


def test_fake_video_differs_around_the_mouth_only(corpus):
    for path, own in zip(clips(corpus, FVRA), clips(corpus, RVRA), strict=True):
        gap = np.abs(grey_frames(path) - grey_frames(own)).mean(axis=0)
        mouth, eyes, sides = gap[140:185, 80:144], gap[:95], gap[:, :25]
        assert mouth.mean() > 2.5
        assert eyes.mean() < 0.4 * mouth.mean()
        assert sides.mean() < 0.4 * mouth.mean()
