"""Windows of a clip that overlap or adjoin are one stretch of audio; nothing is filled."""

import pickle

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import SAMPLE_RATE, WINDOW
from tests.helpers.continuous import continuous_store

SECONDS = WINDOW / SAMPLE_RATE


@pytest.mark.parametrize("starts", [(0.0, 1.024, 2.048), (0.5, 0.5 + SECONDS), (0.0, 1.3)])
def test_audio_is_that_of_the_clip(tmp_path, starts):
    clip, store = continuous_store(tmp_path, starts)
    joined = pickle.loads(pickle.dumps(JoinedAudio(store, store.metas)))
    low, high = round(starts[0] * SAMPLE_RATE), round(starts[-1] * SAMPLE_RATE) + WINDOW
    for shift in (-20_000, -7, 0, 640, 16_384):
        inside = []
        for meta in store.metas:
            first = round(meta.start * SAMPLE_RATE) + shift
            inside.append(low <= first and first + WINDOW <= high)
            if inside[-1]:
                np.testing.assert_array_equal(joined.read(meta.key, shift), clip[first : first + WINDOW])
            else:
                with pytest.raises(UserError, match="no neighbouring windows with the audio beyond it"):
                    joined.read(meta.key, shift)
        assert joined.covers(shift).tolist() == inside


def test_a_gap_is_not_bridged_and_clips_are_not_mixed(tmp_path):
    _, store = continuous_store(tmp_path, (0.0, SECONDS + 0.01), identities=("id1", "id2"))
    joined = JoinedAudio(store, store.metas)
    assert joined.covers(0).all()
    assert not joined.covers(1).any()
    assert not joined.covers(-1).any()


def test_only_the_given_windows_are_joined(tmp_path):
    _, store = continuous_store(tmp_path, (0.0, 1.024))
    assert JoinedAudio(store, store.metas).covers(640).tolist() == [True, False]
    assert JoinedAudio(store, store.metas[:1]).covers(640).tolist() == [False]
