import numpy as np

from avdfd.evaluation.frames import over_time
from avdfd.inference.scoring import Scores
from tests.unit.elements import meta

METAS = [meta("a", "RVRA", 0, n, start=3.0 * n, end=3.0 * n + 3.072) for n in range(2)]


def test_frames_of_windows_have_their_key_and_times():
    frames, agreement = np.arange(154.0).reshape(2, 77), np.arange(62.0).reshape(2, 31)
    found = over_time(METAS, Scores([], {"fused": np.zeros(2)}, frames=frames, agreement=agreement))
    assert found["key"].tolist() == [one.key for one in METAS]
    assert found["clip"].tolist() == [METAS[0].source] * 2
    assert np.stack([found["start"], found["end"]], axis=1).tolist() == [[0, 3.072], [3, 6.072]]
    assert found["log_ratio"].tolist() == frames.tolist()
    assert found["agreement"].tolist() == agreement.tolist()
    assert not any(array.dtype.hasobject for array in found.values())


def test_other_systems_have_none():
    assert over_time(METAS, Scores([], {"audio": np.zeros(2)})) == {}
