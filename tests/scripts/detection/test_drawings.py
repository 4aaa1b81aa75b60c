"""Drawings of detect.py: plots, overlays, and reconstructions of a pre-training."""

import json

import numpy as np
import pytest
import torch

import baseline
import detect
from avdfd.baselines import avff
from avdfd.config import AvffConfig, MediaConfig, parse
from avdfd.core.errors import UserError, WorkError
from avdfd.elements import unpack
from avdfd.elements.form import as_window, encode_wav
from avdfd.inference import inspection, scoring
from avdfd.inference.runs import load_run
from avdfd.inference.spool import spool_windows
from avdfd.media.audio import read_audio, read_waveform
from avdfd.media.video import read_video
from avdfd.media.windows import extract
from tests.helpers.detection import lines_of, refused
from tests.helpers.runs import make_run


@pytest.mark.usefixtures("in_process")
def test_a_short_clip_is_scored_and_drawn(run, videos, tmp_path, capsys):
    """It fills a window by being repeated, and is shown once, to its own end."""
    _, [line] = lines_of(["--run", run, videos / "short.mp4"], capsys)
    (window,) = extract(videos / "short.mp4", MediaConfig())
    scores = scoring.score_windows(load_run(run, "cpu"), [as_window(unpack(window["parts"]))])
    assert (line["short"], line["score"]) == (True, pytest.approx(scores.branch["fused"][0], abs=1e-6))
    assert [(cut["start"], cut["end"]) for cut in line["windows"]] == [(window["start"], window["end"])]
    drawings = ["--plot", str(tmp_path / "plot.png"), "--overlay", str(tmp_path / "shown.mp4")]
    assert detect.main(["--run", str(run), str(videos / "short.mp4"), *drawings]) == 0
    assert "  (short: true)  1 window, 0.0 to 2.0 s\n" in capsys.readouterr().out
    assert len([*read_video(tmp_path / "shown.mp4", "pyav")]) == len([*read_video(videos / "short.mp4", "pyav")])


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", ["train", "pretrain"])
def test_plot_is_drawn(kind, tmp_path, videos, capsys):
    run, out = make_run(tmp_path, kind), tmp_path / "out.png"
    code, _ = lines_of(["--run", run, videos / "below" / "LONG.MP4", "--plot", out], capsys)
    assert code == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", ["train", "pretrain"])
def test_overlay_plays(kind, tmp_path, videos, capsys):
    """The overlay has all frames at their times, a band below them, and audio in sync."""
    source, out = videos / "below" / "LONG.MP4", tmp_path / "out.mp4"
    code, _ = lines_of(["--run", make_run(tmp_path, kind), source, "--overlay", out], capsys)
    assert code == 0
    before, after = (list(read_video(file, "pyav")) for file in (source, out))
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before], abs=1e-3)
    assert before[0].rgb().shape[:2] == (224, 224)
    assert after[0].rgb().shape[:2] == (480 + 96, 480)
    [audio], [original] = read_audio(out), read_audio(source)
    assert audio.start == pytest.approx(original.start, abs=0.01)
    assert audio.end == pytest.approx(original.end, abs=0.1)
    part = slice(16_000, 48_000)
    lags = np.correlate(audio.samples[part], original.samples[part], "full")
    assert abs(int(lags.argmax()) - 31_999) <= 160  # 10 ms


@pytest.mark.usefixtures("in_process")
def test_overlay_of_an_audio_file_is_refused(run, tmp_path, videos):
    (tmp_path / "good.wav").write_bytes(encode_wav(read_waveform(videos / "good.mp4"), 16_000))
    assert "has no video to draw" in refused("--run", run, tmp_path / "good.wav", "--overlay", tmp_path / "o.mp4")
    assert "is the input file" in refused("--run", run, videos / "good.mp4", "--overlay", videos / "good.mp4")
    assert "use one of .mp4" in refused("--run", run, videos / "good.mp4", "--overlay", tmp_path / "o.avi")


def test_refuses_a_plot_that_cannot_be(run, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "run_killable", lambda *_, **__: pytest.fail("worked first"))
    good = videos / "good.mp4"
    assert "--plot draws one file" in refused("--run", run, videos, "--plot", tmp_path / "x.png")
    assert ".png .svg .pdf" in refused("--run", run, good, "--plot", tmp_path / "x.gif")
    assert "cannot be written" in refused("--run", run, good, "--plot", tmp_path / "none" / "x.png")
    (tmp_path / "folder.png").mkdir()
    assert "a folder" in refused("--run", run, good, "--plot", tmp_path / "folder.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_long_videos_give_the_film_strip_few_frames(run, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "_STRIP", 2)
    windows = spool_windows(videos / "below" / "LONG.MP4", MediaConfig(hop=0.5), tmp_path).windows
    seen = inspection.inspect(load_run(run, "cpu"), windows, explain=True)
    assert len(windows) == 10
    assert len(seen.strip) == 2 * 8  # of the first and the sixth window
    assert [time for time, _ in seen.strip[::8]] == pytest.approx([0.16, 2.66], abs=0.05)
    assert seen.columns["discrepancy"].shape == (10, 8, 2, 2)
    assert seen.columns["audio_effect"].shape == (10, 12)
    assert seen.columns["mel"].shape == (10, 128, 96)


@pytest.mark.usefixtures("in_process")
def test_a_published_pre_training_reconstructs_a_window(tmp_path, videos, capsys):
    """The counterpart of OpenAVFF's reconstruction_demo.ipynb, from the file of its second stage."""
    model = {
        "audio_input": "fbank", "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
        "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
    }  # fmt: skip
    values = {"kind": "avff", "faithful": True, "loss": {"adversarial": 0.0}, "model": model, "device": "cpu"}
    values |= {
        "name": "openavff",
        "runs": str(tmp_path),
        "data": {"elements": "e", "splits": "s", "fake_tiers": ["FAKE"]},
    }
    (tmp_path / "avff.json").write_text(json.dumps(values))
    released = avff.rebuild(parse(values, AvffConfig, "test"), "pretrain").state_dict()
    torch.save({f"module.{key}": value for key, value in released.items()}, tmp_path / "stage-2.pth")
    config = ["--config", str(tmp_path / "avff.json"), "--stage", "pretrain"]
    baseline.main([*config, "--published", str(tmp_path / "stage-2.pth")])
    capsys.readouterr()

    def drawn(video, *outputs):
        options = [word for path in outputs for word in ("--reconstruct", str(path))]
        return detect.main(["--run", str(tmp_path / "openavff-pretrain"), str(video), *options])

    image, clip = tmp_path / "video.png", tmp_path / "shown.mp4"
    assert drawn(videos / "below" / "LONG.MP4", image, clip) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [str(image), str(clip)]
    assert "error of the normalised targets: video " in said[0]
    assert image.read_bytes().startswith(b"\x89PNG")
    assert len(list(read_video(clip, "pyav"))) == 77
    with pytest.raises(WorkError, match=r"mute\.mp4: .*audio"):
        drawn(videos / "mute.mp4", image)
    for outputs, problem in (
        ([tmp_path / "x.gif"], "cannot write this file type; use one of .png .mp4"),
        ([videos / "good.mp4"], "is the input file"),
    ):
        with pytest.raises(UserError, match=problem):
            drawn(videos / "good.mp4", *outputs)
    with pytest.raises(UserError, match="--reconstruct draws one file"):
        drawn(videos, image)
    with pytest.raises(UserError, match="--reconstruct gives no verdict"):
        detect.main(["--run", "x", str(videos / "good.mp4"), "--reconstruct", str(image), "--plot", str(image)])
