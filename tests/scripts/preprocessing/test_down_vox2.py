import csv
import errno
import fcntl
import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.voxceleb import shards
from data.preprocessing import down_vox2
from tests.helpers.hub import REPO, FakeHub, Fault, members, serve, tar
from tests.helpers.shards import clips_of, on_disk
from tests.paths import ROOT

IDENTITIES = ["id00012", "id00017", "id00061", "id00154"]
RECORDS = {"manifest.jsonl", "problems.csv", "missing.txt"}


@pytest.fixture
def files() -> dict[str, dict[str, bytes]]:
    return {f"vox-{n:04d}.tar": members(IDENTITIES if n < 3 else IDENTITIES[2:], 12, seed=n) for n in range(4)}


@pytest.fixture
def fake(files):
    with serve(FakeHub({name: tar(content) for name, content in files.items()}, page=3)) as hub:
        yield hub


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(down_vox2.Watch, "sleep", lambda watch, seconds: None)
    make_hub = down_vox2.make_hub
    monkeypatch.setattr(down_vox2, "make_hub", lambda args: replace(make_hub(args), sleep=lambda seconds: None))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def identity_list(tmp_path: Path, *identities: str) -> str:
    path = tmp_path / "wanted.txt"
    path.write_text("# wanted\n" + "".join(f"{identity}  # a comment\n\n" for identity in identities))
    return str(path)


def run(fake: FakeHub, out: Path, *arguments: str) -> int:
    return down_vox2.main(["--out", str(out), "--repo", REPO, "--base-url", fake.url, *arguments])


def clips(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in on_disk(out).items() if name not in RECORDS}


def wanted(files: dict[str, dict[str, bytes]], *identities: str) -> dict[str, bytes]:
    return {name: data for content in files.values() for name, data in clips_of(content, *identities).items()}


def problems(out: Path) -> list[list[str]]:
    with (out / "problems.csv").open() as file:
        return list(csv.reader(file))[1:]


def fakeavceleb(root: Path) -> Path:
    (root / "RealVideo-RealAudio" / "African" / "men" / "id00017").mkdir(parents=True)
    (root / "FakeVideo-RealAudio" / "African" / "men" / "id00061").mkdir(parents=True)
    (root / "FakeVideo-RealAudio" / "African" / "men" / "idle").mkdir()
    return root


def test_identities_of_a_list(fake, tmp_path, files, capsys):
    out = tmp_path / "out"
    assert run(fake, out, "--identities", identity_list(tmp_path, "id00012", "id00154", "id09999")) == 0
    expected = wanted(files, "id00012", "id00154")
    assert clips(out) == expected
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert rows == [
        {
            "path": name,
            "sha256": hashlib.sha256(expected[name]).hexdigest(),
            "bytes": len(expected[name]),
            "shard": next(shard for shard, content in files.items() if name in content),
        }
        for name in sorted(expected)
    ]
    assert (out / "missing.txt").read_text() == "id09999\n"
    assert problems(out) == []
    printed = capsys.readouterr().out
    size = sum(map(len, fake.files.values()))
    assert f"3 identities wanted; 4 shards with {size / 1e6:.1f} MB, of which 4 with" in printed
    assert f"{len(expected)} clips of 2 identities" in printed
    assert "4 of 4 shards read, 4 checked by sha256, 0 by size alone" in printed
    assert "1 identities have no clip: id09999; see" in printed


def test_identities_of_fakeavceleb(fake, tmp_path, files):
    root = fakeavceleb(tmp_path / "FakeAVCeleb")
    assert down_vox2.read_fakeavceleb(root) == {"id00017", "id00061"}
    (root / "meta_data.csv").write_text(
        "source,target1,target2,method,category,type,race,gender,path,\n"
        "id00017,id00154,-,faceswap,C,FakeVideo-RealAudio,African,men,00001_id00012_wavtolip.mp4,FakeAVCeleb/x\n"
    )
    assert run(fake, tmp_path / "out", "--fakeavceleb", str(root)) == 0
    assert clips(tmp_path / "out") == wanted(files, *IDENTITIES)


def test_all_identities(fake, tmp_path, files, capsys):
    assert run(fake, tmp_path / "out", "--all", "--workers", "2") == 0
    assert clips(tmp_path / "out") == wanted(files, *IDENTITIES)
    assert "all identities wanted" in capsys.readouterr().out


def test_a_dry_run_fetches_and_writes_nothing(fake, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert run(fake, out, "--all", "--dry-run") == 0
    assert fake.fetched() == []
    assert not out.parent.exists()
    size = sum(map(len, fake.files.values()))
    assert f"of which 4 with {size / 1e6:.1f} MB at most are to be fetched" in capsys.readouterr().out


def test_a_second_run_does_what_is_missing(fake, tmp_path, files, capsys):
    out = tmp_path / "out"
    assert run(fake, out, "--identities", identity_list(tmp_path, "id00061")) == 0
    before = len(fake.fetched())
    assert run(fake, out, "--identities", identity_list(tmp_path, "id00061")) == 0
    assert len(fake.fetched()) == before
    # The last shard is known to have no clip of this identity.
    assert run(fake, out, "--identities", identity_list(tmp_path, "id00012"), "--dry-run") == 0
    assert "of which 3 with" in capsys.readouterr().out
    assert run(fake, out, "--identities", identity_list(tmp_path, "id00012")) == 0
    assert len(fake.fetched()) == before + 3
    assert clips(out) == wanted(files, "id00012", "id00061")
    assert len((out / "manifest.jsonl").read_text().splitlines()) == len(clips(out))


def test_failed_shards_are_listed_and_retried(fake, tmp_path, files, capsys):
    out = tmp_path / "out"
    good = dict(fake.files)
    one, two, three, _ = good
    fake.listed = {
        one: {"size": len(good[one]) + 512},
        two: {"lfs": {"oid": "0" * 64}},
    }
    fake.files[three] = good[three][:20_000]  # truncated on the hub itself
    fake.more_entries = [{"type": "file", "path": "bad.tar", "size": -1}]
    assert run(fake, out, "--all", "--workers", "1") == 1
    reasons = {row[0]: row[2] for row in problems(out)}
    assert reasons.keys() == {one, two, three, "bad.tar"}
    assert reasons["bad.tar"] == "its size is not a number of bytes up to 1 TiB"
    assert reasons[one].startswith("truncated or changed")
    assert reasons[two].startswith("damaged: its sha256 is")
    assert reasons[three].startswith("damaged")
    assert clips(out) == wanted({name: files[name] for name in files if name == "vox-0003.tar"}, *IDENTITIES)
    printed = capsys.readouterr()
    assert "1 of 4 shards read" in printed.out
    assert "error: 4 shards failed, 0 members were refused; see" in printed.err
    fake.files, fake.listed, fake.more_entries = good, {}, []
    assert run(fake, out, "--all") == 0
    assert clips(out) == wanted(files, *IDENTITIES)
    assert problems(out) == []


def test_refused_members_are_listed(fake, tmp_path, files):
    fake.files["vox-0000.tar"] = tar({"../id00012/x.m4a": b"x", **files["vox-0000.tar"]})
    out = tmp_path / "out"
    assert run(fake, out, "--all") == 1
    assert problems(out) == [["vox-0000.tar", "../id00012/x.m4a", "its path leads out of the folder"]]
    assert clips(out) == wanted(files, *IDENTITIES)


def test_busy_servers_and_broken_connections(fake, tmp_path, files):
    fake.api_faults = [Fault(429, {"Retry-After": "3"}), Fault(503)]
    fake.faults = [Fault(503), Fault(drop_after=5000), Fault(429, {"Retry-After": "3"}), Fault(drop_after=1)]
    assert run(fake, tmp_path / "out", "--all", "--workers", "3") == 0
    assert clips(tmp_path / "out") == wanted(files, *IDENTITIES)


def test_no_wanted_identity_is_present(fake, tmp_path, capsys):
    assert run(fake, tmp_path / "out", "--identities", identity_list(tmp_path, "id09999")) == 1
    assert "error: no clip of the wanted identities" in capsys.readouterr().err


def test_max_bytes_splits_the_download(fake, tmp_path, files, capsys):
    out = tmp_path / "out"
    sizes = [len(data) for data in fake.files.values()]
    arguments = ["--identities", identity_list(tmp_path, "id00012", "id00061", "id09999")]
    assert run(fake, out, *arguments, "--max-bytes", str(sizes[0] + sizes[1])) == 0
    assert len(fake.fetched()) == 2
    printed = capsys.readouterr().out
    assert "2 are left for another run" in printed
    assert "1 identities have no clip so far: id09999" in printed
    assert run(fake, out, *arguments, "--max-bytes", "1G") == 0
    assert clips(out) == wanted(files, "id00012", "id00061")
    with pytest.raises(UserError, match="--max-bytes is less than any shard has left"):
        run(fake, tmp_path / "other", *arguments, "--max-bytes", "1k")


def test_sizes():
    assert [down_vox2.bytes_of(text) for text in ("7", "2k", "1.5M", "20G", "3TB")] == [
        7,
        2000,
        1_500_000,
        20_000_000_000,
        3_000_000_000_000,
    ]
    for text in ("", "much", "-3", "1X"):
        with pytest.raises(UserError, match="is not a size"):
            down_vox2.bytes_of(text)


def test_disk_space_is_checked_first(fake, tmp_path, monkeypatch, capsys):
    size = sum(map(len, fake.files.values()))
    monkeypatch.setattr(down_vox2, "free_bytes", lambda folder: size - 1)
    with pytest.raises(UserError, match="are free, the clips may take .*; free some space, choose another folder"):
        run(fake, tmp_path / "out", "--all")
    assert fake.fetched() == []
    # A few identities need little space: twice the average.
    monkeypatch.setattr(down_vox2, "IDENTITIES", 4)
    monkeypatch.setattr(down_vox2, "free_bytes", lambda folder: size // 2)
    assert run(fake, tmp_path / "out", "--identities", identity_list(tmp_path, "id00012")) == 0
    with pytest.raises(UserError, match="are free"):
        run(fake, tmp_path / "other", "--identities", identity_list(tmp_path, "id00012", "id00017", "id00061"))


def test_a_disk_that_is_full_before_the_end(fake, tmp_path, files, monkeypatch):
    out, write = tmp_path / "out", shards.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".m4a" and len(clips(out)) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(shards, "write_atomic", full)
    with pytest.raises(OSError, match="No space left") as caught:
        run(fake, out, "--all", "--workers", "1")
    assert caught.value.filename.endswith(".m4a")
    assert len((out / "manifest.jsonl").read_text().splitlines()) == len(clips(out)) == 5
    monkeypatch.setattr(shards, "write_atomic", write)
    assert run(fake, out, "--all") == 0
    assert clips(out) == wanted(files, *IDENTITIES)


def test_ctrl_c_between_clips(fake, tmp_path, files, monkeypatch):
    out, seen = tmp_path / "out", []
    on_clip = down_vox2.Watch.on_clip

    def interrupt(watch: down_vox2.Watch) -> None:
        seen.append(1)
        if len(seen) == 7:
            raise KeyboardInterrupt
        on_clip(watch)

    monkeypatch.setattr(down_vox2.Watch, "on_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(fake, out, "--all", "--workers", "1")
    assert len((out / "manifest.jsonl").read_text().splitlines()) == len(clips(out)) == 7
    assert run(fake, out, "--all") == 0
    assert clips(out) == wanted(files, *IDENTITIES)


def test_lists_and_roots_that_cannot_be_used(tmp_path):
    root = tmp_path / "root"
    with pytest.raises(UserError, match="wanted.txt: no such file; --identities takes a text file"):
        down_vox2.read_list(tmp_path / "wanted.txt")
    for text, message in (
        (b"# none\n", "the list is empty"),
        (b"id00012\nid12x", "line 2: 'id12x' is no"),
        (b"\xff", "not a text file"),
    ):
        (tmp_path / "wanted.txt").write_bytes(text)
        with pytest.raises(UserError, match=message):
            down_vox2.read_list(tmp_path / "wanted.txt")
    with pytest.raises(UserError, match="root: no such folder; --fakeavceleb takes the root"):
        down_vox2.read_fakeavceleb(root)
    root.mkdir()
    with pytest.raises(UserError, match="root: neither meta_data.csv nor"):
        down_vox2.read_fakeavceleb(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repo", "voxceleb2"], "--repo: 'voxceleb2' is not of the form owner/name"),
        (["--repo", "someone/else"], "data set someone/else at main: HTTP 404 Not Found; check --repo"),
        (["--base-url", "file:///etc"], "--base-url: 'file:///etc' is not an address"),
        (["--workers", "0"], "--workers takes a number of 1 or more"),
        (["--max-bytes", "lots"], "--max-bytes: 'lots' is not a size"),
        (["--revision", "gone"], f"data set {REPO} at gone: HTTP 404"),
    ],
)
def test_invalid_arguments(fake, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        run(fake, tmp_path / "out", "--all", *arguments)
    assert not (tmp_path / "out").exists()


def test_no_network(fake, tmp_path, capsys):
    assert run(fake, tmp_path / "out", "--all", "--base-url", "http://127.0.0.1:1") == 1
    assert "http://127.0.0.1:1: Connection refused at each of 4 attempts; check the network" in capsys.readouterr().err


def test_the_token_is_sent_and_never_shown(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    assert run(fake, tmp_path / "out", "--all") == 0
    assert all(
        headers.get("Authorization") == (None if path.startswith("/storage/") else "Bearer hf_secret")
        for path, headers in fake.log
    )
    fake.api_faults = [Fault(401)]
    with pytest.raises(UserError, match=r"no access to data set .* \(HTTP 401\).* use a token in HF_TOKEN") as caught:
        run(fake, tmp_path / "out", "--all")
    monkeypatch.setenv("HF_TOKEN", "hf_sec\nret")
    with pytest.raises(UserError, match="HF_TOKEN has characters that are invalid"):
        run(fake, tmp_path / "out", "--all")
    printed = capsys.readouterr()
    assert "hf_sec" not in printed.out + printed.err + str(caught.value)


def test_two_runs_on_one_folder(fake, tmp_path):
    (tmp_path / ".shards").mkdir()
    with open(tmp_path / ".shards" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing to it"):
            run(fake, tmp_path, "--all")
    assert run(fake, tmp_path, "--all") == 0


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed(tmp_path, signum):
    """With a server whose connections drop, so that the kill may come at any point."""
    files = {f"vox-{n}.tar": members(IDENTITIES, 60, size=20_000, seed=n) for n in range(3)}
    out = tmp_path / "out"
    with serve(FakeHub({name: tar(content) for name, content in files.items()})) as fake:
        fake.faults = [Fault(drop_after=100_000 + 50_000 * n) for n in range(30)]
        script = [sys.executable, "data/preprocessing/down_vox2.py", "--all", "--out", str(out), "--repo", REPO]
        process = subprocess.Popen(
            [*script, "--base-url", fake.url, "--workers", "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        while not any(out.rglob("*.m4a")) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signum)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-signum if signum == signal.SIGKILL else 130), said
        assert len(clips(out)) < len(wanted(files, *IDENTITIES))
        assert run(fake, out, "--all") == 0
    assert clips(out) == wanted(files, *IDENTITIES)
    for row in map(json.loads, (out / "manifest.jsonl").read_text().splitlines()):
        assert hashlib.sha256((out / row["path"]).read_bytes()).hexdigest() == row["sha256"]
