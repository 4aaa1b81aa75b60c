import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avdfd.core.clips import CLIP_FIELDS, Clip, ClipMeta, make_entry
from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import sha256_of
from avdfd.core.tiers import FAKE, FVRA, RVRA
from avdfd.core.workers import Failure
from avdfd.corpora.inventory import FileFacts, Streams, check_periods, examine, hash_all, probe
from avdfd.corpora.manifest import ManifestRow, choose, make_row, read_clips, read_manifest, write_manifest
from tests.helpers.recordings import clicks, record
from tests.helpers.videos import make_video


def test_hashing_in_workers(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo.mp4")
    paths = [tmp_path / name for name in ("a.mp4", "fifo.mp4", "gone.mp4")]
    found = dict(hash_all(paths, workers=1, time_limit=60))
    assert [found[path] for path in paths] == [sha256_of(tmp_path / "a.mp4"), "", ""]
    assert [*hash_all([], workers=4, time_limit=60)] == []
    late = Failure("took longer than 60 s", killed=True)
    monkeypatch.setattr("avdfd.corpora.inventory.run_killable", lambda *work, **limits: [(paths[0], late)])
    assert dict(hash_all(paths[:1], workers=1, time_limit=60)) == {paths[0]: ""}


def test_facts_of_a_good_file(tmp_path):
    samples = np.concatenate([np.zeros(8_000), clicks(2, 16_000, [0.01, 1.0, 1.99]), np.zeros(16_000)])
    path = record(tmp_path / "a.mp4", [n / 25 for n in range(88)], samples, rate=16_000)
    facts = examine(path)
    assert (facts.error, facts.short) == ("", False)
    assert (facts.size, facts.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert facts.sha256 == sha256_of(path)
    assert facts.streams._replace(duration=None, fps=None) == Streams(
        None, "h264", None, 224, 224, "aac", 16_000, 1, 1, 0
    )
    assert facts.streams.duration == pytest.approx(3.52, abs=0.1)
    assert facts.streams.fps == pytest.approx(25, abs=0.5)
    assert facts.leading_silence == pytest.approx(
        0.5 + 1024 / 16_000, abs=0.02
    )  # the encoder adds 1024 samples at the start
    assert facts.trailing_silence == pytest.approx(1.0, abs=0.1)
    assert len(facts.sound_hash) == 64
    assert len(facts.picture_hash) == 32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mute.mp4", "no audio stream"),
        ("silent.mp4", "silent audio"),
        ("text.mp4", "not a media file"),
        ("empty.mp4", "empty file"),
        ("half.mkv", "truncated"),
        ("gone.mp4", "cannot be read (No such file or directory)"),
    ],
)
def test_facts_of_files_that_cannot_be_used(tmp_path, name, reason):
    path = tmp_path / name
    if name == "mute.mp4":
        make_video(path, 2, audio=None)
    elif name == "silent.mp4":
        make_video(path, 2, audio="silence")
    elif name == "half.mkv":
        whole = make_video(tmp_path / "whole.mkv", 6).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif name != "gone.mp4":
        path.write_text("no video" if name == "text.mp4" else "")
    facts = examine(path)
    assert reason in facts.error
    assert (facts.sha256 is None) == (name == "gone.mp4")
    assert facts.streams.video_codec == ("h264" if name in ("mute.mp4", "silent.mp4", "half.mkv") else None)


def test_short_is_what_audio_and_video_have_in_common(tmp_path):
    video = [n / 25 for n in range(100)]
    for seconds, short in ((3.2, False), (2.9, True)):
        samples = np.random.default_rng(0).normal(0, 0.1, round(16_000 * seconds))
        path = record(tmp_path / "a.mkv", video, samples, rate=16_000, audio_codec="pcm_s16le")
        assert examine(path).short is short
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 5)
    assert examine(record(tmp_path / "b.mp4", video[:75], samples, rate=16_000)).short


def test_fake_periods_after_the_end_of_the_file(tmp_path):
    """Periods in frames or milliseconds called all windows of a fake real."""
    path = record(tmp_path / "a.mp4", [n / 25 for n in range(88)], clicks(2, 56_320, [0.01, 1.0, 1.99]), rate=16_000)
    facts = {"source": "a.mp4", "identities": ("a",), "base": "a.mp4", "path": path}
    for fine in ("", "[[0.5, 3.6]]", "[[3.0, 7.9]]"):
        check_periods(Clip(**facts, tier="FVFA", audio_fake_periods=fine))
    check_periods(Clip(**facts, tier="RVRA", audio_fake_periods="[[12, 50]]"))
    check_periods(Clip(**facts | {"path": tmp_path / "gone.mp4"}, tier="FVFA"))
    with pytest.raises(
        MediaError, match=r"a fake period ends at 50 s, but the file at 7.1 s: the periods are not in s"
    ):
        check_periods(Clip(**facts, tier="FVRA", visual_fake_periods="[[0.5, 1], [12, 50]]"))


def test_probe_reads_packets_only(tmp_path):
    whole = make_video(tmp_path / "whole.mkv", 6)
    assert probe(whole).video_codec == "h264"
    (tmp_path / "half.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaError, match="truncated: .* s of the stated .* s exist"):
        probe(tmp_path / "half.mkv")
    with pytest.raises(MediaError, match="no audio stream"):
        probe(make_video(tmp_path / "mute.mp4", 1, audio=None))


def rows(root: Path) -> list[ManifestRow]:
    swap = make_entry(
        root,
        "b/swap.mp4",
        FVRA,
        identities=("A", "B"),
        base="a.mp4",
        method="dfl",
        split="train",
        fake_periods=((0.5, 1.0), (2.0, 2.5)),
    )
    facts = FileFacts(
        7, 123456789012345678, "ab", Streams(2.5, "h264", 25.0, 64, 48, "aac", 16_000, 1, 1, 0), 0.1, 0.2, b"s", b"p"
    )
    return [
        make_row(swap, facts),
        make_row(make_entry(root, "a.mp4", RVRA, identities=("A",)), facts),
        make_row(make_entry(root, "c.mp4", FAKE, identities=("C",)), FileFacts(error="no audio stream"), 30.0),
        make_row(make_entry(root, "d.mp4", None, problem="not listed in clips.csv"), FileFacts()),
    ]


def test_written_manifest_is_read_back(tmp_path):
    made = rows(tmp_path)
    write_manifest(tmp_path / "m.parquet", made)
    read = read_manifest(tmp_path / "m.parquet")
    assert read == sorted(made, key=lambda row: row.source)
    swap = next(row for row in read if row.source == "b/swap.mp4")
    assert (swap.label, swap.label_video, swap.label_audio) == (1, 1, 0)
    assert swap.fake_periods == ((0.5, 1.0), (2.0, 2.5))
    assert swap.file.streams.height == 48
    unknown = read[-1]
    assert (unknown.tier, unknown.identities) == ("unknown", ())
    table = pq.read_table(tmp_path / "m.parquet")
    labels = [table[name].to_pylist() for name in ("label", "label_video", "label_audio")]
    assert labels == [[0, 1, 1, None], [0, 1, None, None], [0, 0, None, None]]
    write_manifest(tmp_path / "none.parquet", [])
    assert read_manifest(tmp_path / "none.parquet") == []


def test_clips_of_a_manifest_are_the_usable_ones(tmp_path):
    write_manifest(tmp_path / "m.parquet", rows(tmp_path))
    clips = choose(tmp_path / "m.parquet", tmp_path / "videos", ["RVRA", "FVRA", "FAKE"])[0]
    path = tmp_path / "videos" / "b" / "swap.mp4"
    assert [clip.source for clip in clips] == ["a.mp4", "b/swap.mp4"]
    assert clips[1] == Clip(
        path=path,
        source="b/swap.mp4",
        tier="FVRA",
        identities=("A", "B"),
        base="a.mp4",
        method="dfl",
        fake_periods=((0.5, 1.0), (2.0, 2.5)),
        has_video="yes",
    )
    usable, others = read_clips(tmp_path / "m.parquet")
    assert (others, [clip.sha256 for clip in usable]) == (["c.mp4", "d.mp4"], ["ab", "ab"])
    facts = [{name: getattr(clip, name) for name in CLIP_FIELDS} | {"sha256": "ab"} for clip in clips]
    assert usable == [ClipMeta(**known) for known in facts]
    with pytest.raises(UserError, match="no usable media files of the tiers FAKE"):
        choose(tmp_path / "m.parquet", tmp_path, ["FAKE"])[0]


def test_manifest_without_periods_by_modality_has_them_from_those_of_either(tmp_path):
    path = tmp_path / "m.parquet"
    write_manifest(path, rows(tmp_path))
    pq.write_table(pq.read_table(path).drop_columns(["audio_fake_periods", "visual_fake_periods"]), path)
    for read in (read_manifest(path), choose(path, tmp_path, ["RVRA", "FVRA", "FAKE"])[0]):
        periods = {one.source: (one.audio_fake_periods, one.visual_fake_periods) for one in read[:2]}
        assert periods == {"a.mp4": ("", ""), "b/swap.mp4": ("", "[[0.5, 1.0], [2.0, 2.5]]")}


def test_manifests_that_cannot_be_read(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(UserError, match="no such manifest; make it with"):
        read_manifest(path)
    write_manifest(path, rows(tmp_path))
    whole = path.read_bytes()
    for content in (b"", b"PAR1 no", whole[:-20], whole[:40] + b"\0" * 200 + whole[240:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="m.parquet: not a Parquet file, or damaged"):
            read_manifest(path)
    pq.write_table(pa.table({"path": ["a.mp4"]}), path)
    with pytest.raises(UserError, match="not a manifest of this project"):
        choose(path, tmp_path, ["RVRA"])[0]
    pq.write_table(pa.table({"path": ["a.mp4"]}).replace_schema_metadata({"avdfd.manifest": "0"}), path)
    with pytest.raises(UserError, match="of version 0, not 2"):
        read_manifest(path)
