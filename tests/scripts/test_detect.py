"""detect.py on small video files: output, drawings and error messages."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import baseline
import detect
from avdfd.baselines import avff, mrdf
from avdfd.config import AvffConfig, MediaConfig, MrdfConfig, parse
from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import BEST
from avdfd.elements import unpack
from avdfd.elements.form import as_window, encode_wav
from avdfd.evaluation import judge
from avdfd.features.window import SECONDS
from avdfd.inference import inspection, scoring
from avdfd.inference.runs import load_run
from avdfd.inference.spool import spool_windows
from avdfd.inference.verdict import BRANCHES
from avdfd.media import face_windows
from avdfd.media.audio import read_audio, read_waveform
from avdfd.media.video import read_video
from avdfd.media.windows import extract
from avdfd.training import weights
from avdfd.training.weights import RunFacts
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.in_process import run_in_process
from tests.helpers.recordings import clicks, record
from tests.helpers.runs import AUDIO, SPECTRA, make_run
from tests.helpers.videos import Disposition, make_video, write

FIELDS = ["file", "score", "verdict", "probability", "calibrated", *(f"{branch}_score" for branch in BRANCHES)]
FIELDS += [
    *(f"weight_{branch}" for branch in BRANCHES),
    "domain",
    "lag_ms",
    "basis",
    "windows",
    "short",
    "faces",
    "error",
    "audio_stream",
    "video_stream",
]
FIELDS += ["damaged_frames", "dropped_frames", "notes", "left_out"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), "train")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a good video, a longer one below it, and files that cannot be used."""
    root = tmp_path_factory.mktemp("videos")
    (root / "below").mkdir()
    good = make_video(root / "good.mp4", 4.0)
    make_video(root / "below" / "LONG.MP4", 8.0)
    make_video(root / "mute.mp4", 4.0, audio=None)
    make_video(root / "short.mp4", 2.0)
    (root / "text.mp4").write_text("not a video\n" * 100)
    (root / "truncated.mp4").write_bytes(good.read_bytes()[:9000])
    (root / "notes.txt").write_text("is left out")
    return root


def lines_of(arguments, capsys):
    code = detect.main([*map(str, arguments), "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def in_process(monkeypatch):
    """Cuts files without worker processes, which take seconds to start."""

    monkeypatch.setattr(detect, "run_killable", run_in_process)


def test_a_run_that_takes_whole_clips_is_given_the_whole_file(videos, tmp_path, capsys, in_process):
    """A file of 4 s, one of 8 s of which the run takes 6, and one that is too short for a window."""
    model = {"clips": "whole", "max_steps": 150, "encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 1}
    data = {"elements": "none", "splits": "none", "fake_tiers": ["RVFA"]}
    cfg = parse({"kind": "mrdf", "name": "whole", "data": data, "model": model}, MrdfConfig, "test")
    facts = RunFacts(config=cfg, stage="train", git="unknown")
    weights.save(tmp_path / "whole" / BEST, mrdf.rebuild(cfg, "train").state_dict(), facts)
    files = [videos / "good.mp4", videos / "below" / "LONG.MP4", videos / "short.mp4"]
    code, lines = lines_of(["--run", tmp_path / "whole", *files], capsys)
    assert code == 0
    spans = [[(window["start"], window["end"]) for window in line["windows"]] for line in lines]
    assert spans == [[(0, pytest.approx(4, abs=0.05))], [(0, 6)], [(0, pytest.approx(2, abs=0.05))]]
    with pytest.raises(UserError, match="takes whole clips, without windows to draw over time"):
        detect.main(["--run", str(tmp_path / "whole"), str(files[0]), "--plot", str(tmp_path / "x.png")])


@pytest.mark.usefixtures("in_process")
def test_streams_are_named_and_can_be_chosen(run, tmp_path, capsys):
    """The second audio track is the default one; a track that does not exist is an error of the file."""
    tracks = [{"hertz": 400}, {"hertz": 900, "disposition": Disposition.default}]
    path = write(tmp_path / "two.mkv", [{"size": 224}], tracks)
    _, [taken] = lines_of(["--run", run, path], capsys)
    assert (taken["audio_stream"], taken["video_stream"], taken["damaged_frames"]) == (2, 0, 0)
    assert taken["notes"] == ["audio stream 2", "video stream 0"]
    _, [other] = lines_of(["--run", run, path, "--audio-stream", 1, "--video-stream", 0], capsys)
    assert other["audio_stream"] == 1
    assert other["audio_score"] != taken["audio_score"]
    detect.main(["--run", str(run), str(path)])
    assert "(audio stream 2)" in capsys.readouterr().out
    code, [line] = lines_of(["--run", run, path, "--audio-stream", 5], capsys)
    assert (code, line["error"]) == (1, "no audio stream 5; its audio streams are 1, 2")
    with pytest.raises(UserError, match="take the index of a stream"):
        detect.main(["--run", str(run), str(path), "--video-stream", "-1"])


@pytest.mark.usefixtures("in_process")
def test_score_that_is_not_a_number_is_an_error_of_its_file(run, videos, capsys, monkeypatch, tmp_path):
    """The other files of the call are scored; the windows that a killed call left on disk are removed."""
    judged, inspect = [], judge.inspect
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "avdfd-spool-killed" / "clip").mkdir(parents=True)

    def spoilt(run, windows, **how):
        judged.append(windows)
        if len(judged) == 1:
            raise WorkError("its fused score of window 0 is not a number")
        return inspect(run, windows, **how)

    monkeypatch.setattr(judge, "inspect", spoilt)
    code, lines = lines_of(["--run", run, videos / "below" / "LONG.MP4", videos / "good.mp4"], capsys)
    assert code == 1
    assert [line["error"] for line in lines] == ["its fused score of window 0 is not a number", None]
    assert [line["score"] is None for line in lines] == [True, False]
    assert [*tmp_path.iterdir()] == []


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
def test_kind_of_file_is_its_content(run, tmp_path, capsys, monkeypatch):
    """Audio in a video container is judged by the audio branch, and so is a video by a run that takes audio alone."""
    alone = write(tmp_path / "voice.mkv", [], [{"hertz": 400}])
    alone = alone.rename(tmp_path / "voice.mp4")
    _, [line] = lines_of(["--run", run, alone], capsys)
    assert (line["basis"], line["error"], line["video_stream"]) == ("audio alone", None, None)
    with pytest.raises(UserError, match="has no video to draw"):
        detect.main(["--run", str(run), str(alone), "--overlay", str(tmp_path / "x.mp4")])
    monkeypatch.setattr(face_windows, "FaceTracker", lambda config: pytest.fail("looked for a face"))
    video = write(tmp_path / "video.mp4", [{"size": 96}], [{"hertz": 400}])
    audio_run = make_run(tmp_path / "runs", "pretrain")
    _, [line] = lines_of(["--run", audio_run, video], capsys)
    assert (line["basis"], line["error"]) == ("audio alone", None)


def test_a_folder_gives_a_line_per_file_even_if_some_are_unusable(run, videos, capsys):
    code, lines = lines_of(["--run", run, videos, "--workers", "2"], capsys)
    assert code == 1
    found = {Path(line["file"]).name: line for line in lines}
    assert sorted(found) == ["LONG.MP4", "good.mp4", "mute.mp4", "short.mp4", "text.mp4", "truncated.mp4"]
    for line in lines:
        assert list(line) == FIELDS
        if Path(line["file"]).name in ("good.mp4", "LONG.MP4", "short.mp4"):
            assert line["error"] is None
            assert line["short"] is (Path(line["file"]).name == "short.mp4")
            assert line["weight_audio"] + line["weight_visual"] == pytest.approx(1)
            assert line["score"] == pytest.approx(np.mean([window["score"] for window in line["windows"]]))
            assert line["verdict"] == ("fake" if line["score"] >= 0.5 else "real")
        else:
            assert line["error"]
            assert "\n" not in line["error"]
            assert line["score"] is None
            assert line["verdict"] is None
            assert line["windows"] == []
    assert "audio" in found["mute.mp4"]["error"]
    assert len(found["good.mp4"]["windows"]) == 1
    assert found["good.mp4"]["left_out"] == []
    starts = [window["start"] for window in found["LONG.MP4"]["windows"]]
    assert starts == pytest.approx(np.arange(4) * 1.536, abs=0.05)
    assert all(w["end"] - w["start"] == pytest.approx(SECONDS, abs=1e-5) for w in found["LONG.MP4"]["windows"])


@pytest.mark.usefixtures("in_process")
def test_scores_are_those_of_the_model(run, videos, capsys):
    code, [line] = lines_of(["--run", run, videos / "below" / "LONG.MP4", "--hop", "2"], capsys)
    assert code == 0
    windows = list(extract(videos / "below" / "LONG.MP4", MediaConfig(hop=2.0)))
    scores = scoring.score_windows(load_run(run, "cpu"), [unpack(w["parts"]) for w in windows])
    assert [w["score"] for w in line["windows"]] == pytest.approx(scores.branch["fused"].tolist(), abs=1e-6)
    assert line["audio_score"] == pytest.approx(scores.branch["audio"].mean(), abs=1e-6)
    assert line["visual_score"] == pytest.approx(scores.branch["visual"].mean(), abs=1e-6)
    assert line["weight_audio"] == pytest.approx(scores.weights["audio"].mean(), abs=1e-6)


@pytest.mark.usefixtures("in_process")
def test_output_says_which_face_was_judged(run, tmp_path, capsys):
    """No mouth moves, so the larger of two faces is judged; --all-faces scores both and has the same verdict."""
    images = [scene([Place(130, 130), Place(350, 130, side=190, seed=5)])] * 100
    times = [n / 25 for n in range(100)]
    video = record(tmp_path / "a.mp4", times, clicks(4, 16_000, [1.0, 2.0]), rate=16_000, size=SIZE, images=images)
    code, [line] = lines_of(["--run", run, video], capsys)
    [window], [face] = line["windows"], line["faces"]
    assert (code, line["error"]) == (0, None)
    assert (window["face"]["number"], window["face"]["present"], window["face"]["speaks"]) == (1, 2, False)
    assert (face["number"], face["windows"], face["speaks"]) == (1, 1, 0)
    assert face["score"] == line["score"] == window["score"]
    assert face["time"] == pytest.approx(1.52)
    assert face["left"] > 240
    assert face["left"] + face["width"] / 2 == pytest.approx(350, abs=8)
    detect.main(["--run", str(run), str(video)])
    place = f"face {face['width']}x{face['height']} at {face['left']}, {face['top']}, 1.5 s  1 window, 0.0 to 3.1 s"
    assert capsys.readouterr().out.splitlines()[0].endswith(place)

    _, [both] = lines_of(["--run", run, video, "--all-faces"], capsys)
    assert both["score"] == pytest.approx(line["score"], abs=1e-5), "in a batch with the other face"
    assert [window["face"] for window in both["windows"]] == [window["face"]]
    assert {**both["faces"][0], "score": 0} == {**face, "score": 0}
    other = both["faces"][1]
    assert (other["number"], other["verdict"] in ("fake", "real"), other["score"] != both["score"]) == (2, True, True)
    assert other["left"] < 240
    detect.main(["--run", str(run), str(video), "--all-faces"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["face", "1"], ["face", "2"]]
    with pytest.raises(UserError, match="leave out the drawing, or --all-faces"):
        detect.main(["--run", str(run), str(video), "--all-faces", "--plot", str(tmp_path / "a.png")])


@pytest.mark.usefixtures("in_process")
def test_frames_are_taken_as_in_training(tmp_path, capsys):
    """A run that was trained on whole frames needs no face; other runs take whole frames on request."""
    video = make_video(tmp_path / "surfing.mp4", 4.0, size=160)
    run = make_run(tmp_path, "train")
    code, [line] = lines_of(["--run", run, video], capsys)
    assert (code, line["error"]) == (1, "no face found")
    code, [line] = lines_of(["--run", run, video, "--whole-frame"], capsys)
    assert (code, line["error"]) == (0, None)
    facts, model = weights.load(run / BEST, "train")
    weights.save(run / BEST, model, facts.model_copy(update={"media": MediaConfig(face=None)}))
    assert lines_of(["--run", run, video], capsys) == (0, [line])


@pytest.mark.usefixtures("in_process")
def test_the_videos_of_a_list_get_a_prediction(run, videos, tmp_path, capsys):
    """Their eval.py fills unreadable videos with zeros; here they have no score."""
    listed, out = tmp_path / "testset.csv", tmp_path / "prediction.csv"
    listed.write_text("video_name,target\ngood.mp4,1\nbelow/LONG.MP4,0\ngone.mp4,0\ntext.mp4,1\ngood.mp4,1\n")
    arguments = ["--run", run, "--csv", listed, "--root", videos, "--prediction", out]
    code, lines = lines_of(arguments, capsys)
    assert code == 1
    scores = {Path(line["file"]).name: line["score"] for line in lines}
    errors = {Path(line["file"]).name: line["error"] for line in lines if line["error"]}
    assert errors == {"gone.mp4": "no such file", "text.mp4": "not a media file"}
    scored = [f"{name},{scores[name]}" for name in ("good.mp4", "LONG.MP4")]
    assert out.read_text().splitlines() == ["video_name,y_pred", *scored, "gone.mp4,", "text.mp4,"]
    handed = [*arguments, "--submission", "av-deepfake1m-detection", tmp_path / "prediction.txt"]
    with pytest.raises(WorkError, match="2 of 4 files have no score, e.g. gone.mp4"):
        detect.main([*map(str, handed)])
    assert detect.main([*map(str, handed), "--missing", "0.5"]) == 1
    assert "prediction.txt: 4 files, 2 of them without a score" in capsys.readouterr().err
    expected = [f"good.mp4;{scores['good.mp4']}", f"below/LONG.MP4;{scores['LONG.MP4']}"]
    assert (tmp_path / "prediction.txt").read_text().split() == [*expected, "gone.mp4;0.5", "text.mp4;0.5"]
    listed.write_text(f"{videos}/good.mp4\n")
    detect.main([str(word) for word in ["--run", run, "--csv", listed, "--prediction", out]])
    said = capsys.readouterr()
    assert "prediction.csv: 1 of 1 videos have a score" in said.err
    assert out.read_text().splitlines()[1].startswith("good.mp4,0.")


def test_lists_that_cannot_be_scored_are_refused(run, videos, tmp_path):
    listed = tmp_path / "testset.csv"
    listed.write_text("good.mp4,0\n")

    def refused(*arguments):
        with pytest.raises(UserError) as error:
            detect.main(["--run", str(run), *map(str, arguments)])
        return str(error.value)

    assert "name the files to score, or a list of them with --csv" in refused()
    assert "to score the videos of a list, leave out the files" in refused(videos / "good.mp4", "--csv", listed)
    assert listed.read_text() == "good.mp4,0\n"
    both = ["--csv", tmp_path / "a.csv", "--scores", tmp_path / "b.csv"]
    assert "--csv and --scores write the same table" in refused(videos / "good.mp4", *both)
    assert "is an input or another output; name another file" in refused("--csv", listed, "--prediction", listed)
    assert "is a folder; name a file" in refused("--csv", listed, "--prediction", tmp_path)
    assert "--submission x: no such form; use one of av-deepfake1m, " in refused(
        "--csv", listed, "--submission", "x", tmp_path / "x"
    )
    twice = ("--submission", "csv", tmp_path / "x")
    assert "is an input or another output" in refused("--csv", listed, *twice, *twice)
    listed.write_text("../good.mp4,0\n")
    assert "testset.csv: line 1: '../good.mp4' is not below" in refused("--csv", listed)


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


@pytest.mark.usefixtures("in_process")
def test_how_many_windows_are_scored_at_once_does_not_matter(run, videos, capsys, monkeypatch):
    _, [together] = lines_of(["--run", run, videos / "below" / "LONG.MP4"], capsys)
    monkeypatch.setattr(inspection, "_BATCH", 3)
    _, [apart] = lines_of(["--run", run, videos / "below" / "LONG.MP4"], capsys)
    assert [w["score"] for w in apart["windows"]] == pytest.approx([w["score"] for w in together["windows"]], abs=1e-6)


@pytest.mark.usefixtures("in_process")
def test_stage_1_gives_the_audio_verdict(tmp_path, videos, capsys):
    code, [line] = lines_of(["--run", make_run(tmp_path, "pretrain"), videos / "good.mp4"], capsys)
    assert code == 0
    assert line["score"] == line["audio_score"] == line["windows"][0]["score"]
    assert line["visual_score"] is line["weight_audio"] is line["weight_visual"] is None


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("kind", "audio"), [("train", AUDIO), ("pretrain", AUDIO), ("train", SPECTRA)])
def test_audio_files_get_the_verdict_of_the_audio_branch(kind, audio, tmp_path, videos, capsys):
    """An audio file scores as its video does in the audio branch; a short file is repeated."""
    run = make_run(tmp_path, kind, audio=audio)
    samples = read_waveform(videos / "good.mp4")
    (tmp_path / "good.wav").write_bytes(encode_wav(samples, 16_000))
    (tmp_path / "short.WAV").write_bytes(encode_wav(samples[:20_000], 16_000))
    record(tmp_path / "good.flac", [], samples, rate=16_000, audio_codec="flac")
    plot = tmp_path / "out.png"
    code, lines = lines_of(["--run", run, *(tmp_path / n for n in ("good.wav", "good.flac", "short.WAV"))], capsys)
    _, [video] = lines_of(["--run", run, videos / "good.mp4"], capsys)
    assert code == 0
    for line in lines:
        assert line["basis"] == "audio alone"
        assert line["score"] == line["audio_score"]
        assert line["visual_score"] is line["weight_audio"] is line["weight_visual"] is None
    assert lines[0]["score"] == pytest.approx(lines[1]["score"], abs=1e-4)
    assert lines[0]["score"] == pytest.approx(video["audio_score"], abs=1e-3)
    assert len(lines[2]["windows"]) == 1
    assert video["basis"] == ("audio and video" if kind == "train" else "audio alone")
    assert detect.main(["--run", str(run), str(tmp_path / "good.wav"), "--plot", str(plot)]) == 0
    assert "  (audio alone)  1 window, 0.0 to 3.1 s\n" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_process")
def test_a_system_that_needs_video_refuses_audio_files(run, videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(judge, "audio_only", lambda run: None)
    (tmp_path / "good.wav").write_bytes(encode_wav(read_waveform(videos / "good.mp4"), 16_000))
    code, [audio, video] = lines_of(["--run", run, tmp_path / "good.wav", videos / "good.mp4"], capsys)
    assert code == 1
    assert audio["error"] == "no video stream; train needs one"
    assert video["error"] is None


@pytest.mark.usefixtures("in_process")
def test_text_lines_are_aligned(run, videos, capsys):
    assert detect.main(["--run", str(run), str(videos / "good.mp4"), str(videos / "text.mp4"), "--threshold", "0"]) == 1
    out, err = capsys.readouterr()
    good, text = out.splitlines()
    assert good.startswith(f"{videos / 'good.mp4'}  fake  0.")
    assert good.endswith("  1 window, 0.0 to 3.1 s")
    assert text.startswith(f"{videos / 'text.mp4'}  error: ")
    assert "Traceback" not in err


@pytest.mark.usefixtures("in_process")
def test_windows_that_are_left_out_are_named(run, videos, capsys):
    _, [line] = lines_of(["--run", run, videos / "good.mp4"], capsys)
    line["left_out"] = [{"start": start, "end": start + 3.072, "reason": "no face found"} for start in (3.0, 6.0)]
    assert "  (2 windows left out: no face found)  " in detect.verdict_line(line, 0)


@pytest.mark.usefixtures("in_process")
def test_threshold_decides(run, videos, capsys):
    for threshold, expected in (("0", "fake"), ("1", "real")):
        _, [line] = lines_of(["--run", run, videos / "good.mp4", "--threshold", threshold], capsys)
        assert line["verdict"] == expected


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


def test_a_file_that_takes_too_long_is_stopped(run, videos, capsys):
    code, [line] = lines_of(["--run", run, videos / "good.mp4", "--time-limit", "0.001"], capsys)
    assert code == 1
    assert "longer than 0.001 s" in line["error"]


@pytest.mark.usefixtures("in_process")
def test_nothing_is_left_in_the_temporary_folder(run, videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines_of(["--run", run, videos / "good.mp4", videos / "text.mp4"], capsys)
    assert list(tmp_path.iterdir()) == []


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


# ---- what it refuses


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        detect.main([str(a) for a in arguments])
    return str(caught.value)


def test_refuses_before_anything_is_scored(run, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "run_killable", lambda *_, **__: pytest.fail("worked first"))
    good, empty = videos / "good.mp4", tmp_path / "empty"
    empty.mkdir()
    assert "none.mp4: no such file" in refused("--run", run, good, videos / "none.mp4")
    assert "empty: no media file" in refused("--run", run, good, empty)
    assert "no such run folder" in refused("--run", tmp_path / "none", good)
    assert "hop" in refused("--run", run, good, "--hop", "0")
    assert "time_limit" in refused("--run", run, good, "--time-limit", "-1")
    assert "--threshold" in refused("--run", run, good, "--threshold", "2")
    assert "--workers" in refused("--run", run, good, "--workers", "0")
    assert "up to 1024" in refused("--run", run, good, "--workers", "1000000")
    assert "/dev/zero: a device, not a file; name a media file" in refused("--run", run, "/dev/zero")


def test_refuses_a_plot_that_cannot_be(run, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "run_killable", lambda *_, **__: pytest.fail("worked first"))
    good = videos / "good.mp4"
    assert "--plot draws one file" in refused("--run", run, videos, "--plot", tmp_path / "x.png")
    assert ".png .svg .pdf" in refused("--run", run, good, "--plot", tmp_path / "x.gif")
    assert "cannot be written" in refused("--run", run, good, "--plot", tmp_path / "none" / "x.png")
    (tmp_path / "folder.png").mkdir()
    assert "a folder" in refused("--run", run, good, "--plot", tmp_path / "folder.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_script_ends_with_one_line_and_exit_code_2(run, tmp_path):
    script = Path(detect.__file__)
    done = subprocess.run(
        [sys.executable, script, "--run", run, tmp_path / "none.mp4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'none.mp4'}: no such file or folder; correct the path\n"
