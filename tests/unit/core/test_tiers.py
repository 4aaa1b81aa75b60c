"""Tiers and their labels."""

import pytest

from avdfd.core.errors import UserError
from avdfd.core.tiers import AUDIO_CLASS, FAKES, TIERS, tier


def test_labels_of_all_tiers():
    labels = {name: (t.label, t.video, t.audio) for name, t in TIERS.items()}
    assert labels == {
        "RVRA": (0, 0, 0),
        "RVFA": (1, 0, 1),
        "FVRA": (1, 1, 0),
        "FVFA": (1, 1, 1),
        "RVFA-VC": (1, 0, 1),
        "RVFA-SVC": (1, 0, 1),
        "FAKE": (1, None, None),
        "RVRA-V": (0, 0, 0),
    }
    assert set(TIERS) - set(FAKES) == {"RVRA", "RVRA-V"}


def test_unknown_modality_label_of_a_fake_counts_as_fake():
    parts = {name: tier(name).fake_modalities for name in ("RVRA", "RVFA-VC", "FVRA", "FVFA", "FAKE")}
    assert parts == {"RVRA": (0, 0), "RVFA-VC": (1, 0), "FVRA": (0, 1), "FVFA": (1, 1), "FAKE": (1, 1)}
    assert all(max(t.fake_modalities) == t.label for t in TIERS.values())


def test_audio_classes_agree_with_the_labels():
    assert all(bool(AUDIO_CLASS[name]) == bool(tier(name).audio) for name in AUDIO_CLASS)


def test_unknown_tier():
    with pytest.raises(UserError, match="unknown tier 'RVRF': use one of RVRA, RVFA"):
        tier("RVRF")
