"""The published evaluation of AV-Deepfake1M reads what detect.py hands in, if it is installed:
`pip install --no-deps avdeepfake1m`. Only its compiled part is loaded, which reads the files and computes AP and AR."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from avdfd.metrics.localisation import AP_IOUS, AR_COUNTS, AR_IOUS, Proposals, match, measures
from avdfd.report.submissions import encode


@pytest.fixture(scope="module")
def official():
    package = importlib.util.find_spec("avdeepfake1m")
    found = [] if package is None else list(Path(package.submodule_search_locations[0]).glob("_evaluation*.so"))
    if not found:
        pytest.skip("avdeepfake1m is not installed")
    spec = importlib.util.spec_from_file_location("avdeepfake1m._evaluation", found[0])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def drawn(count=40):
    """Results of files as detect.py has them, and their fake periods; near the periods scores are higher."""
    rng = np.random.default_rng(0)
    results, periods = {}, {}
    for number in range(count):
        starts = np.arange(rng.integers(1, 12)) * 1.536
        first = rng.uniform(0, starts[-1] + 2)
        fake = [] if number % 3 == 0 else [[float(first), float(first + rng.uniform(0.3, 3))]]
        inside = np.array([any(start < last and start + 3.072 > begin for begin, last in fake) for start in starts])
        scores = np.clip(0.25 + 0.4 * inside + 0.2 * rng.standard_normal(len(starts)), 0.001, 0.999)
        windows = [{"start": t, "end": t + 3.072, "score": s} for t, s in zip(starts, scores.tolist(), strict=True)]
        results[f"{number:06d}.mp4"] = {"score": float(scores.mean()), "probability": None, "windows": windows}
        periods[f"{number:06d}.mp4"] = fake
    return results, periods


def test_the_published_evaluation_reads_proposals_and_finds_our_figures(official, tmp_path):
    results, periods = drawn()
    handed_in, key = tmp_path / "prediction.json", tmp_path / "labels.json"
    handed_in.write_bytes(encode("av-deepfake1m-localisation", results, None))
    key.write_text(json.dumps([{"file": name, "fake_segments": fake} for name, fake in periods.items()]))
    where = (str(handed_in), str(key), "file", "fake_segments", 1.0)
    ap = official.ap_1d(*where, [*AP_IOUS])
    ar = official.ar_1d(*where, [*AR_COUNTS], [*AR_IOUS])
    written = {name: np.array(rows).reshape(-1, 3) for name, rows in json.loads(handed_in.read_text()).items()}
    found = [Proposals(written[name][:, 1:], written[name][:, 0]) for name in periods]
    ours = measures(match(found, [np.array(fake).reshape(-1, 2) for fake in periods.values()]))
    assert 0.05 < ours["ap_0.5"] < 0.95, "neither trivial nor perfect"
    theirs = {f"ap_{iou:g}": value for iou, value in zip(AP_IOUS, ap.values(), strict=True)}
    theirs |= {f"ar_{count}": ar[count] for count in AR_COUNTS}
    for name, value in theirs.items():
        assert value == pytest.approx(ours[name], abs=2e-3), name
