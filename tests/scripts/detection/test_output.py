"""detect.py on small media files: its lines, the windows it scores, and its messages."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import detect
from avdfd.baselines import mrdf
from avdfd.config import MediaConfig, MrdfConfig, parse
from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import BEST
from avdfd.elements import unpack
from avdfd.elements.form import encode_wav
from avdfd.evaluation import judge
from avdfd.features.window import SECONDS
from avdfd.inference import inspection, scoring
from avdfd.inference.runs import load_run
from avdfd.inference.verdict import BRANCHES
from avdfd.media import face_windows
from avdfd.media.audio import read_waveform
from avdfd.media.windows import extract
from avdfd.training import weights
from avdfd.training.weights import RunFacts
from tests.helpers.detection import lines_of, refused
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.recordings import clicks, record
from tests.helpers.runs import AUDIO, SPECTRA, make_run
from tests.helpers.videos import Disposition, make_video, write

FIELDS = ["file", "score", "verdict", "probability", "calibrated"]
FIELDS += [f"{branch}_score" for branch in BRANCHES] + [f"weight_{branch}" for branch in BRANCHES]
FIELDS += ["domain", "lag_ms", "basis", "windows", "short", "faces", "error", "audio_stream", "video_stream"]
FIELDS += ["damaged_frames", "dropped_frames", "notes", "left_out"]


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


def test_a_file_that_takes_too_long_is_stopped(run, videos, capsys):
    code, [line] = lines_of(["--run", run, videos / "good.mp4", "--time-limit", "0.001"], capsys)
    assert code == 1
    assert "longer than 0.001 s" in line["error"]


@pytest.mark.usefixtures("in_process")
def test_nothing_is_left_in_the_temporary_folder(run, videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines_of(["--run", run, videos / "good.mp4", videos / "text.mp4"], capsys)
    assert list(tmp_path.iterdir()) == []


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


def test_script_ends_with_one_line_and_exit_code_2(run, tmp_path):
    script = Path(detect.__file__)
    done = subprocess.run(
        [sys.executable, script, "--run", run, tmp_path / "none.mp4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'none.mp4'}: no such file or folder; correct the path\n"
