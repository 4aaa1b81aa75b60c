"""Fake periods, and the labels of windows that follow from them."""

import math

import pytest

from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.periods import as_text, check, from_text, merged, overlap


def clip(tier: str, audio: str = "", video: str = "") -> ClipMeta:
    return ClipMeta(
        source="a.mp4", tier=tier, identities=("A",), base="a.mp4", audio_fake_periods=audio, visual_fake_periods=video
    )


def test_times_beyond_every_clip():
    for text in ("[[0, 1e300]]", f"[[0, {'9' * 400}]]", "[[0, Infinity]]"):
        with pytest.raises(UserError, match="no fake periods"):
            from_text(text)


def test_overlapping_periods_are_joined_and_touching_ones_are_not():
    assert merged([[2, 3], [0, 1], [0.5, 1.5], [3, 4]]) == ((0, 1.5), (2, 3), (3, 4))
    assert overlap(merged([[0, 2], [1, 3]]), 0.5, 2.5) == 2.0
    assert overlap(((1, 2),), 2, 3) == overlap((), 0, 9) == 0


def test_text_of_periods_is_read_back():
    assert as_text(()) == as_text([]) == ""
    assert from_text("") == ()
    assert as_text([[2, 2.5], [0.5, 1]]) == "[[0.5, 1.0], [2.0, 2.5]]"
    assert from_text(as_text([[2, 2.5], [0.5, 1]])) == ((0.5, 1.0), (2.0, 2.5))


@pytest.mark.parametrize(
    "listed", [[[2, 1]], [[1]], [[1, 2, 3]], ["12"], [[1, math.nan]], [[0, math.inf]], [[0, "1"]], [None], {"a": 1}, 3]
)
def test_what_is_no_list_of_periods(listed):
    with pytest.raises(ValueError, match="is not a"):
        check(listed)


@pytest.mark.parametrize("text", ["0-1", "[[0, 1]", "3", "[[1, 0]]", '["ab"]', "[[0, NaN]]"])
def test_damaged_text_is_named(text):
    with pytest.raises(UserError, match="are no fake periods .*; write"):
        from_text(text)


@pytest.mark.parametrize(
    ("made", "seconds", "modalities"),
    [
        (clip("RVRA"), (0, 0), (0, 0)),
        (clip("RVFA"), (3, 0), (1, 0)),
        (clip("FAKE"), (3, 3), (1, 1)),
        (clip("FVFA", "[[0, 1], [2.5, 9]]", "[[4, 5]]"), (1.5, 0), (1, 0)),
        (clip("FVFA", "[[4, 5]]", "[[2.75, 5]]"), (0, 0.25), (0, 1)),
        (clip("FVFA", "[[4, 5]]", ""), (0, 3), (0, 1)),
        (clip("RVFA", "[[4, 5]]"), (0, 0), (0, 0)),
        (clip("FVRA", "[[0, 3]]", "[[1, 2]]"), (0, 1), (0, 1)),  # the tier says that the audio is real
    ],
)
def test_label_of_the_window_from_0_to_3_seconds(made, seconds, modalities):
    label = made.window_label(0, 3)
    assert label == seconds
    assert label.modalities == modalities
    assert label.label == max(modalities)
