"""A run on small stores: what its training data looked like, files that are unlike it, and what is said of them."""

import csv
import json

import numpy as np
import pytest

import detect
import evaluate
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.elements.form import encode_wav
from avdfd.evaluation.domain import BUILT_IN_METHODS
from avdfd.inference import domain
from avdfd.inference.runs import load_run
from avdfd.training import weights
from data.corpus.clips import METHODS
from tests.helpers.detection import make_corpus
from tests.helpers.runs import STATISTICS, make_run

pytestmark = pytest.mark.usefixtures("in_process")

SPLITS = {
    split: [f"id{number}" for number in range(first, end)]
    for split, first, end in (("train", 0, 10), ("validation", 10, 16), ("test", 16, 22))
}
MEDIA = {"keep": ["waveform", "mel"], "hop": 1.0}
METHOD = {"RVRA": "real", "RVFA": "klatt"}


def noise(rng, seconds, smooth):
    """Return noise that is low-passed by a mean of so many samples."""
    white = rng.standard_normal(int(16_000 * seconds))
    slow = np.convolve(white, np.ones(smooth) / smooth, "same")
    return (0.1 * slow / slow.std()).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Low-passed noise, two files for each identity and class, and an untrained run of stage 1."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)

    def write(path, _, name, __):
        audio = noise(rng, rng.uniform(3.2, 6), 6 + 2 * (name == "RVFA"))
        path.write_bytes(encode_wav(audio, 16_000))

    media = make_corpus(root, SPLITS, MEDIA, METHOD, ".wav", write)
    make_run(root, "pretrain", audio=STATISTICS, media=media)
    return root


@pytest.fixture(scope="module")
def evaluated(corpus):
    """The root of the corpus, with reports of validation and test."""
    for split in ("validation", "test"):
        evaluate.main(["--run", str(corpus / "pretrain"), "--split", split, "--bootstrap", "0", "--device", "cpu"])
    return corpus


def judged(root, capsys, *files, more=()):
    capsys.readouterr()
    detect.main(["--run", str(root / "pretrain"), "--device", "cpu", "--json", *map(str, files), *map(str, more)])
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err


def test_files_unlike_the_training_data_are_neither_real_nor_fake(evaluated, tmp_path, capsys):
    rng = np.random.default_rng(1)
    strange = [tmp_path / f"{number}.wav" for number in range(4)]
    for path in strange:
        path.write_bytes(encode_wav(noise(rng, 4, 1), 16_000))
    alike = sorted(path for path in (evaluated / "files").rglob("*.wav") if path.parent.name in SPLITS["test"])
    lines, said = judged(evaluated, capsys, *alike, *strange, more=["--csv", tmp_path / "table.csv"])
    outside = [line["verdict"] == "out of domain" for line in lines]
    assert all(outside[-4:])
    assert np.mean(outside[:-4]) <= 0.15, "one of 25 is expected"
    assert said.count("its scores say nothing about real recordings") == 1
    report = json.loads((evaluated / "pretrain/eval/test/report.json").read_text())["domain"]
    stored = {
        row["clip"]: float(row["domain_audio"])
        for row in csv.DictReader((evaluated / "pretrain/eval/test/scores.csv").read_text().splitlines())
    }
    assert report["outside"] == pytest.approx(np.mean(outside[:-4]))
    for line in lines[:-4]:
        clip = line["file"].removeprefix(f"{evaluated / 'files'}/")
        assert line["domain"]["audio"]["distance"] == pytest.approx(stored[clip], rel=1e-4)
    far = lines[-1]["domain"]
    assert (far["audio"]["percentile"], far["overall"]["percentile"]) == (100, 100)
    assert far["overall"]["distance"] > 1
    row = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))[-1]
    assert row["verdict"] == "out of domain"
    assert float(row["domain_audio_distance"]) == pytest.approx(far["audio"]["distance"])
    assert row["domain_picture_distance"] == ""
    again = ["--csv", str(tmp_path / "table.csv")]
    detect.main(["--run", str(evaluated / "pretrain"), "--device", "cpu", str(strange[0]), *again])
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 2
    assert f"  out of domain  {lines[-4]['score']:.3f}" in capsys.readouterr().out


def test_length_is_no_cue(evaluated, tmp_path, capsys):
    """Parts of test files that are shorter than a window, and repeated to fill it, are not further than other files."""
    rng = np.random.default_rng(2)
    short = [tmp_path / f"{number}.wav" for number in range(10)]
    for path in short:
        path.write_bytes(encode_wav(noise(rng, 2.0, 6), 16_000))
    lines, _ = judged(evaluated, capsys, *short)
    assert all(line["short"] for line in lines)
    assert sum(line["verdict"] == "out of domain" for line in lines) <= 1


def test_the_report_says_how_far_clips_are_and_how_errors_grow(evaluated):
    report = json.loads((evaluated / "pretrain/eval/test/report.json").read_text())["domain"]
    assert report["facts"]["corpus"] == {
        "elements": str(evaluated / "elements"), "clips": 40, "identities": 10,
        "windows": report["facts"]["corpus"]["windows"], "tiers": ["RVFA", "RVRA"], "methods": ["klatt"],
        "built_in": True,
    }  # fmt: skip
    low, middle, high = report["facts"]["audio"]["bandwidth_hz"]
    assert 500 <= low <= middle <= high <= 8000
    assert report["calibration_clips"] == 64, "24 of validation, and the 40 of training"
    assert list(report["tiers"]) == ["RVRA", "RVFA"]
    assert sum(one["clips"] for one in report["ranges"]) == 24
    assert report["ranges"][0]["distance"] == "0 to 50 %"
    page = (evaluated / "pretrain/eval/test/report.html").read_text()
    assert "Is this what it was trained on?" in page
    assert "Errors by distance" in page


def test_runs_of_several_seeds_have_a_domain_together(evaluated):
    """Distances of audio are those of its mel, so the same for each of them, and for both."""
    facts, model = weights.load(evaluated / "pretrain" / BEST, "pretrain")
    config = facts.config.model_copy(update={"name": "again", "seed": 1})
    weights.save(evaluated / "again" / BEST, model, facts.model_copy(update={"config": config}))
    both, options = f"{evaluated / 'pretrain'},{evaluated / 'again'}", ["--bootstrap", "0", "--device", "cpu"]
    folder = evaluated / "pretrain/eval"
    evaluate.main(["--run", both, "--split", "test", *options])
    missing = json.loads((folder / "test-2-seeds/report.json").read_text())["domain"]["missing"]
    assert missing == f"evaluate {both} on validation first, which finds out"
    for split in ("validation", "test"):
        evaluate.main(["--run", both, "--split", split, *options])
        joined, single = (
            json.loads((folder / name / "report.json").read_text())["domain"] for name in (f"{split}-2-seeds", split)
        )
        assert len(joined["facts"].pop("checkpoint_sha256")) == 2
        single["facts"].pop("checkpoint_sha256")
        assert joined["outside"] == single["outside"]
        assert joined["facts"] == single["facts"]
    run = load_run(evaluated / "pretrain", "cpu")
    assert domain.load(folder / "validation-2-seeds/domain.safetensors", [run]) is None


def test_what_is_not_known_is_said(evaluated, capsys):
    path = evaluated / "pretrain/eval/validation/domain.safetensors"
    content, some = path.read_bytes(), evaluated / "files/RealVideo-RealAudio/Asian/men/id14/0.wav"
    path.write_bytes(content[:-9])
    with pytest.raises(UserError, match="damaged, or written by another version; evaluate the run on validation again"):
        judged(evaluated, capsys, some)
    path.unlink()
    [line], said = judged(evaluated, capsys, some)
    assert line["domain"] is None
    assert line["verdict"] != "out of domain"
    assert "files unlike its training data are not recognised" in said
    path.write_bytes(content)


def test_the_methods_of_the_built_in_corpus_are_known():
    assert {name for made, name in METHODS.items() if made.label} == BUILT_IN_METHODS
