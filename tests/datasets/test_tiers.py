"""Labels, in their one place."""

import pytest

from avdfd.datasets.tiers import AUDIO_CLASS, TIERS, tier
from avdfd.errors import UserError


def test_labels():
    labels = {name: (t.label, t.video, t.audio) for name, t in TIERS.items()}
    assert labels == {
        "RVRA": (0, 0, 0),
        "RVFA": (1, 0, 1),
        "FVRA": (1, 1, 0),
        "FVFA": (1, 1, 1),
        "RVFA-VC": (1, 0, 1),
        "RVFA-SVC": (1, 0, 1),
        "FAKE": (1, None, None),
    }


def test_audio_classes_agree_with_the_labels():
    assert all(bool(AUDIO_CLASS[name]) == bool(tier(name).audio) for name in AUDIO_CLASS)


def test_unknown_tier():
    with pytest.raises(UserError, match="unknown tier 'RVRF': use one of RVRA, RVFA"):
        tier("RVRF")
