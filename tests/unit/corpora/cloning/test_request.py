import numpy as np
import pytest

from avdfd.corpora.cloning.request import ConversionError, checked

SOURCE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
OTHER = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "the result is empty"),
        (np.zeros(16_000, np.float32), "the result is silent"),
        (np.where(np.arange(16_000) == 7, np.nan, OTHER), "values that are not finite"),
        (OTHER[:14_000], "0.125 s shorter than the source"),
        (np.tile(OTHER, 2), "1.000 s longer than the source"),
        (0.5 * SOURCE, "the source itself"),
        (SOURCE + 0.01 * OTHER, "the source itself"),
    ],
)
def test_invalid_results_are_refused(samples, reason):
    with pytest.raises(ConversionError, match=reason):
        checked(samples, SOURCE, 0.04)


def test_result_gets_the_length_of_the_source():
    assert np.array_equal(checked(OTHER[:15_800], SOURCE, 0.04), np.pad(OTHER[:15_800], (0, 200)))
    assert np.array_equal(checked(np.tile(OTHER, 2)[:16_300], SOURCE, 0.04), OTHER)
