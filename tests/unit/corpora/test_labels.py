import pytest

from avdfd.corpora.labels import read_label, tier_of


@pytest.mark.parametrize(
    ("cell", "label"),
    [("Real", 0), (" FAKE ", 1), (0, 0), (1.0, 1), (True, 1), (False, 0), ("unknown", None), ("", None), (None, None)],
)
def test_cells_of_labels(cell, label):
    assert read_label(cell) == label


@pytest.mark.parametrize("cell", ["maybe", 2, 0.5, ["fake"]])
def test_other_cells_are_refused(cell):
    with pytest.raises(ValueError, match=r"expected real, 0, .* or fake, 1"):
        read_label(cell)


@pytest.mark.parametrize(
    ("video", "audio", "label", "name"),
    [
        (0, 0, None, "RVRA"),
        (0, 1, None, "RVFA"),
        (1, 0, None, "FVRA"),
        (1, 1, 1, "FVFA"),
        (None, None, 0, "RVRA"),
        (None, None, 1, "FAKE"),
        (0, None, 1, "RVFA"),
        (None, 0, 1, "FVRA"),
        (1, None, None, "FAKE"),
        (None, 1, 1, "FAKE"),
        (0, None, None, None),
        (None, None, None, None),
    ],
)
def test_tier_of_labels(video, audio, label, name):
    tier = tier_of(video, audio, label)
    assert (tier and tier.name) == name


@pytest.mark.parametrize(("video", "audio", "label"), [(1, 0, 0), (None, 1, 0), (0, 0, 1)])
def test_contradictions_are_refused(video, audio, label):
    with pytest.raises(ValueError, match="contradicts"):
        tier_of(video, audio, label)
