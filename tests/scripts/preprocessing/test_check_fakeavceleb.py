import json
import subprocess
import sys
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora import fakeavceleb
from avdfd.corpora.fakeavceleb import FILES, ROWS, TWICE, compare
from data.preprocessing import check_fakeavceleb
from tests.helpers.in_process import run_in_process
from tests.helpers.videos import make_video
from tests.paths import ROOT

HEADER = "source,target1,target2,method,category,type,race,gender,path,\n"
REAL = "RealVideo-RealAudio/African/men/id00076/00109.mp4"
SWAP = "FakeVideo-RealAudio/African/men/id00076/00109_id00166_wavtolip.mp4"


def line(path: str, method: str = "real", target: str = "-") -> str:
    tier, race, gender, identity, name = path.split("/")
    folder = f"FakeAVCeleb/{tier}/{race}/{gender}/{identity}"
    return f"{identity},{target},-,{method},A,{tier},{race},{gender},{name},{folder}\n"


@pytest.fixture
def part(tmp_path) -> Path:
    """A correct subset of the data set, with real files."""
    root = tmp_path / "FakeAVCeleb_v1.2"
    for path in (REAL, SWAP):
        (root / path).parent.mkdir(parents=True)
        make_video(root / path, 1)
    (root / "meta_data.csv").write_text(HEADER + line(REAL) + line(SWAP, "wav2lip", "id00166"))
    return root


@pytest.fixture
def serial(monkeypatch):
    """Open files in this process, which is faster."""

    monkeypatch.setattr(check_fakeavceleb, "run_killable", run_in_process)


def findings(root: Path, tmp_path: Path, *more: str) -> tuple[int, dict]:
    out = tmp_path / "check.json"
    code = check_fakeavceleb.main([str(root), "--json", str(out), *more])
    return code, json.loads(out.read_text())


def test_counts_of_the_release_are_consistent():
    assert sum(ROWS.values()) - TWICE == FILES


def test_whole_release_passes(tmp_path, monkeypatch, serial, capsys):
    """A root of empty files with as many rows, files and repetitions as the release."""
    lines, paths = [], []
    for folder, number in ROWS.items():
        fake = folder.startswith("FakeVideo")
        twice = TWICE if folder == "FakeVideo-FakeAudio" else 0
        for n in range(number - twice):
            identity = f"id{n % 500:05d}"
            name = f"{n:05d}_id{(n + 1) % 500:05d}_wavtolip.mp4" if fake else f"{n:05d}.mp4"
            path = f"{folder}/African/men/{identity}/{name}"
            paths.append(path)
            lines.append(line(path, "wav2lip" if fake else "real"))
            if n < twice:
                lines.append(line(path, "faceswap-wav2lip"))
    for path in paths:
        place = tmp_path / path
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True)
        place.touch()
    (tmp_path / "meta_data.csv").write_text(HEADER + "".join(lines))
    monkeypatch.setattr(check_fakeavceleb, "probe", lambda path: None)
    code, found = findings(tmp_path, tmp_path)
    assert (code, found["passed"], found["counts"]) == (0, True, [])
    assert (len(found["twice"]), len(found["paths"]), found["sources"]) == (22, 21_544, 500)
    assert next(iter(found["twice"].values())) == ["wav2lip", "faceswap-wav2lip"]
    assert "as released" in capsys.readouterr().out

    (tmp_path / paths[0]).unlink()
    (tmp_path / "meta_data.csv").write_text(HEADER + "".join(lines[:-1]))
    code, found = findings(tmp_path, tmp_path)
    assert code == 1
    assert found["counts"] == [
        "FakeVideo-FakeAudio: 10856 rows in meta_data.csv, 10857 in the release",
        "21543 files, 21544 in the release",
    ]
    assert (found["missing"], found["extra"]) == ([paths[0]], [paths[-1]])


def test_subset_passes_as_a_subset_only(part, tmp_path, serial, capsys):
    code, found = findings(part, tmp_path, "--subset")
    assert (code, found["passed"]) == (0, True)
    assert (found["sources"], found["people"], found["one_person"]) == (1, 2, [])
    assert "a consistent part of the release" in capsys.readouterr().out
    code, found = findings(part, tmp_path)
    assert code == 1
    assert "RealVideo-FakeAudio: 0 rows in meta_data.csv, 500 in the release" in found["counts"]
    assert "2 files, 21544 in the release" in found["counts"]


def test_every_difference_is_listed(part, tmp_path, serial, capsys):
    moved = SWAP.replace("African", "Asian (East)")
    (part / moved).parent.mkdir(parents=True)
    (part / SWAP).rename(part / moved)
    extra = REAL.replace("00109", "00110")
    (part / extra).write_text("no video")
    gone = REAL.replace("00109", "00111")
    alone = "FakeVideo-FakeAudio/African/men/id00076/00109_0.mp4"
    cloned = "RealVideo-FakeAudio-VoiceClone/African/men/id00076/00109_vc.mp4"
    for path in (alone, cloned):
        (part / path).parent.mkdir(parents=True)
        make_video(part / path, 1, audio=None if path == alone else "noise")
    with (part / "meta_data.csv").open("a") as table:
        table.write(line(gone) + line(alone, "wav2lip") + line(alone, "fsgan").replace(",men,", ",women,"))
    code, found = findings(part, tmp_path, "--subset")
    assert (code, found["passed"]) == (1, False)
    assert found["missing"] == [gone]
    assert found["extra"] == [extra]
    assert found["wrong_folder"] == {SWAP: moved}
    assert found["unreadable"] == {alone: "no audio stream", extra: "not a media file"}
    assert found["twice"] == {alone: ["wav2lip", "fsgan"]}
    assert found["disagreeing"] == [alone]
    assert found["one_person"] == [alone]
    assert found["made_here"] == {"RealVideo-FakeAudio-VoiceClone": 1}
    said = capsys.readouterr().out
    for text in ("in the wrong folder: 1", gone, extra, "not a consistent part", "wav2lip, fsgan"):
        assert text in said


def test_remarks_are_not_differences(part):
    with (part / "meta_data.csv").open("a") as table:
        table.write(line(SWAP, "faceswap-wav2lip"))
    found = compare(part, released=False)
    assert len(found.twice) == 1
    assert not found.differs


def test_table_without_folders_is_read_by_its_columns():
    row = {"type": "RealVideo-RealAudio", "race": "African", "gender": "men", "source": "id1", "path": "1.mp4"}
    assert fakeavceleb.row_path(row) == "RealVideo-RealAudio/African/men/id1/1.mp4"
    assert fakeavceleb.row_path({**row, "": "FakeAVCeleb/A/B/C/id2"}) == "A/B/C/id2/1.mp4"


def test_script_in_processes(part, tmp_path):
    command = [sys.executable, "data/preprocessing/check_fakeavceleb.py"]
    options = [str(part), "--subset", "--workers", "1"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    missing = subprocess.run([*command, str(tmp_path / "no")], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert missing.returncode == 2
    assert missing.stderr == f"error: {tmp_path}/no: no such folder; give the root of FakeAVCeleb_v1.2\n"


def test_invalid_roots_are_refused(part, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no folder such as RealVideo-RealAudio"):
        compare(tmp_path / "empty", released=True)
    (part / "meta_data.csv").write_text("path,type\n")
    with pytest.raises(UserError, match="meta_data.csv: has no column 'gender'"):
        compare(part, released=True)
    (part / "meta_data.csv").unlink()
    with pytest.raises(UserError, match="has no meta_data.csv"):
        compare(part, released=True)
    with pytest.raises(UserError, match="cannot be written to"):
        check_fakeavceleb.main([str(part), "--json", str(part / REAL / "check.json")])
