"""Windows that are cut short when they are read are what short clips are: repeated from their start."""

import numpy as np
import pytest

from avdfd.elements import ElementStore
from avdfd.elements.form import mel_of
from avdfd.evaluation.shortened import ShortenedStore
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, WINDOW
from tests.helpers.runs import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ElementStore(make_store(tmp_path_factory.mktemp("store"), landmarks=True) / "elements")


def test_audio_frames_and_landmarks_are_repeated_together(store):
    short = ShortenedStore(store)
    lengths = []
    for meta in store.metas[:8]:
        whole = store.read(meta.key, waveform=True, frames=range(FRAMES), landmarks=True)
        cut = short.read(meta.key, waveform=True, frames=range(FRAMES), landmarks=True)
        start = whole.waveform[:100]
        count = next(n for n in range(FPS, FRAMES) if np.array_equal(cut.waveform[n * 640 :][:100], start))
        lengths.append(count)
        samples = np.arange(WINDOW) % (count * SAMPLE_RATE // FPS)
        assert np.array_equal(cut.waveform, whole.waveform[samples])
        assert np.array_equal(cut.frames, whole.frames[np.arange(FRAMES) % count])
        assert np.array_equal(cut.landmarks, whole.landmarks[np.arange(FRAMES) % count])
        assert np.array_equal(cut.mel, mel_of(cut.waveform))
    assert len(set(lengths)) > 4
    assert (min(lengths) >= FPS, max(lengths) < FRAMES) == (True, True)


def test_only_what_is_asked_for_is_read(store):
    key = store.metas[0].key
    some = ShortenedStore(store).read(key, frames=[0, 30, 76])
    assert (some.waveform, some.landmarks, some.frames.shape[0]) == (None, None, 3)
    again = ShortenedStore(store).read(key, mel=False, waveform=True)
    assert (again.mel, again.frames) == (None, None)
    assert np.array_equal(mel_of(again.waveform), some.mel), "the same length whenever it is read"
