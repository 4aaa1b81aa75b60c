import sys

import numpy as np
import pytest

from avdfd.config import Ge2eConfig, ScoresConfig
from avdfd.core.errors import UserError
from avdfd.corpora.cloning import naturalness
from avdfd.corpora.cloning.naturalness import open_naturalness
from avdfd.corpora.cloning.request import ConversionError
from avdfd.corpora.cloning.scores import Judge, Scores, SourceFacts, envelope_correlation, word_error_rate
from avdfd.corpora.cloning.speaker import open_encoder
from data.corpus.speech import Voice, speak

SPEECH = speak("my brother painted the old bridge near the river", Voice("f4", 40, 60, 165)).samples.astype(np.float32)
RNG = np.random.default_rng(0)


def test_envelope_follows_timing_not_level():
    assert envelope_correlation(0.1 * SPEECH, SPEECH) == pytest.approx(1)
    assert envelope_correlation(np.roll(SPEECH, 1_600), SPEECH) < 0.9
    assert envelope_correlation(RNG.normal(0, 0.1, len(SPEECH)).astype(np.float32), SPEECH) < 0.3


@pytest.mark.parametrize(
    ("expected", "recognised", "rate"),
    [("a b c d", "a b c d", 0), ("a b c d", "a x c", 0.5), ("a b", "", 1), ("", "a b", 2), ("a", "b a c", 2)],
)
def test_word_error_rate(expected, recognised, rate):
    assert word_error_rate(expected.split(), recognised.split()) == rate


def test_naturalness_falls_with_damage_and_short_audio_is_rated():
    rate = open_naturalness()
    clean = rate(SPEECH)
    assert clean == rate(SPEECH)
    assert 1 < rate(SPEECH + RNG.normal(0, 0.1, len(SPEECH)).astype(np.float32)) < clean - 0.3 < 5
    assert rate(np.tile(SPEECH, 6)) == pytest.approx(clean, abs=0.5)


def test_missing_weights_name_the_remedy(monkeypatch):
    naturalness._session.cache_clear()
    monkeypatch.setattr(naturalness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="DNSMOS are not installed; run bash setup.sh"):
        open_naturalness()


SOURCE = SourceFacts(SPEECH, np.ones(1), 3.0, [])


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (Scores(0.9, 0.9, 2.6, 0.1), ""),
        (Scores(0.9, 0.7, 2.6, 0.1), "envelope 0.7 below 0.8"),
        (Scores(0.9, 0.9, 2.4, 0.1), "naturalness 2.4 below 2.5"),
        (Scores(0.6, 0.9, 2.6, 0.1), "similarity 0.6 below 0.75"),
        (Scores(0.9, 0.9, 2.6, 0.3), "word error rate 0.3 above 0.2"),
        (Scores(0.9, 0.9, 2.6), ""),
    ],
)
def test_failed_threshold_is_named(scores, reason):
    assert scores.failing(ScoresConfig(), SOURCE) == reason


def judge(tmp_path, **more):
    return Judge(ScoresConfig(**more), open_encoder(Ge2eConfig()), tmp_path, 20)


def test_hardest_is_the_most_similar_or_the_most_natural(tmp_path):
    passed = [(0, Scores(0.8, 0.9, 3.0)), (1, Scores(0.9, 0.9, 2.8)), (2, Scores(0.9, 0.9, 2.9))]
    assert judge(tmp_path).hardest(passed) == 1
    assert judge(tmp_path, hardest="naturalness").hardest(passed) == 0


def test_candidate_is_scored_against_source_and_speaker(tmp_path):
    recogniser = [
        sys.executable,
        "-c",
        "import os, sys; print('One, two!' if os.path.getsize(sys.argv[1]) > 50000 else '')",
    ]
    listener = judge(tmp_path, recogniser=[*recogniser, "{sound}"])
    source = listener.source_facts(SPEECH, open_encoder(Ge2eConfig())(SPEECH))
    assert source.words == ["one", "two"]
    assert listener.score(SPEECH, source) == Scores(1.0, 1.0, source.naturalness, 0.0)
    with pytest.raises(ConversionError, match="the result has only 0"):
        listener.score(np.zeros_like(SPEECH), source)
