"""Scores of a candidate, and the choice among the candidates that pass.

similarity    cosine of its speaker embedding and the mean embedding of the speaker's real recordings
envelope      correlation of the log-energy envelopes of candidate and source, which is high if the timing is kept
naturalness   DNSMOS P.835 speech quality, 1 to 5
wer           word error rate against the recognised words of the source, if there is a recogniser

The hardest candidate is, by default, the one that is most similar to the speaker.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avdfd.config import ScoresConfig
from avdfd.core.errors import MediaError, UserError
from avdfd.corpora.cloning import programs
from avdfd.corpora.cloning.exchange import write_wav
from avdfd.corpora.cloning.naturalness import open_naturalness
from avdfd.corpora.cloning.speaker import Embed
from avdfd.features.window import SAMPLE_RATE

_HOP, _FRAME = SAMPLE_RATE // 100, SAMPLE_RATE // 40
_RANGE = 10**-5.0  # of the loudest frame's power, -50 dB: lower power is background
_DIGITS = 4  # that are stored and compared: further digits depend on the machine


def check_recogniser(cfg: ScoresConfig) -> None:
    """Raise UserError if the configured recogniser is missing."""
    if cfg.recogniser and shutil.which(cfg.recogniser[0]) is None:
        raise UserError(f"scores.recogniser: no program '{cfg.recogniser[0]}'; give its path")


class Scores(NamedTuple):
    similarity: float
    envelope: float
    naturalness: float
    wer: float | None = None

    def failing(self, cfg: ScoresConfig, source: "SourceFacts") -> str:
        """Return why a candidate with these scores does not pass; "" if it passes."""
        least = source.naturalness - cfg.max_naturalness_drop
        if self.envelope < cfg.min_envelope:
            return f"envelope {self.envelope:g} below {cfg.min_envelope:g}"
        if self.wer is not None and self.wer > cfg.max_wer:
            return f"word error rate {self.wer:g} above {cfg.max_wer:g}"
        if self.naturalness < least:
            return f"naturalness {self.naturalness:g} below {least:g}"
        if self.similarity < cfg.min_similarity:
            return f"similarity {self.similarity:g} below {cfg.min_similarity:g}"
        return ""


class SourceFacts(NamedTuple):
    """Facts about a source that its candidates are compared with: samples (S,), the speaker's mean embedding (D,)."""

    samples: np.ndarray
    speaker: np.ndarray
    naturalness: float
    words: list[str]


class Judge:
    """Scores candidates; `folder` has the recogniser's files. Raises UserError if DNSMOS is not installed."""

    def __init__(self, cfg: ScoresConfig, embed: Embed, folder: Path, time_limit: float) -> None:
        self.cfg = cfg
        self._embed, self._folder, self._time_limit = embed, folder, time_limit
        self._rate: Callable[[np.ndarray], float] = open_naturalness()

    def source_facts(self, samples: np.ndarray, speaker: np.ndarray) -> SourceFacts:
        """Return the facts about a source (S,), given its speaker's mean embedding (D,). Raises ConversionError."""
        return SourceFacts(samples, speaker, round(self._rate(samples), _DIGITS), self._words(samples))

    def score(self, candidate: np.ndarray, source: SourceFacts) -> Scores:
        """Score a candidate (S,). Raises ConversionError if it has no speech, or the recogniser fails."""
        try:
            similarity = float(self._embed(candidate) @ source.speaker)
        except MediaError as error:
            raise programs.ConversionError(f"the result has {error}") from None
        wer = word_error_rate(source.words, self._words(candidate)) if self.cfg.recogniser else None
        scores = similarity, envelope_correlation(candidate, source.samples), self._rate(candidate), wer
        return Scores(*(None if value is None else round(value, _DIGITS) for value in scores))  # type: ignore[arg-type]

    def hardest(self, scores: Sequence[tuple[int, Scores]]) -> int:
        """Return the number of the candidate to keep among those that pass; of equal ones, the first."""
        return max(scores, key=lambda one: (getattr(one[1], self.cfg.hardest), -one[0]))[0]

    def _words(self, samples: np.ndarray) -> list[str]:
        if not self.cfg.recogniser:
            return []
        audio = (self._folder / "recognised.wav").absolute()
        write_wav(audio, samples)
        command = programs.filled(self.cfg.recogniser, {"sound": str(audio)})
        text = programs.run(command, self._time_limit, self._folder / "recogniser.txt")
        return "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()


def envelope_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation (-1 to 1) of the log energies of two signals (S,) in frames of 25 ms every 10 ms."""
    return float(np.corrcoef(_envelope(one), _envelope(other))[0, 1])


def word_error_rate(expected: Sequence[str], recognised: Sequence[str]) -> float:
    """Number of substitutions, deletions and insertions from `expected` to `recognised`, per expected word."""
    row = list(range(len(recognised) + 1))
    for i, word in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(recognised, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / max(1, len(expected))


def _envelope(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), _FRAME)[::_HOP]
    power = np.square(frames).mean(axis=1)
    return np.log(np.maximum(power, power.max() * _RANGE))
