"""Elements of preprocess.py: windows, members, faces, and fakes of a part."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.datasets.loaders import Inputs, stack
from avdfd.elements import ElementStore
from avdfd.elements.form import frame_sizes
from avdfd.elements.layout import left_out_by_truth, media_of, read_settings
from avdfd.media.reconstruction import Reconstruction
from avdfd.media.windows import extract
from data.preprocessing import make_manifest
from tests.helpers.elements import members
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.preprocessing import config, many, quarantine, run, video
from tests.helpers.recordings import clicks, frame_number, record


def test_whole_frames_of_any_video_without_a_face(tmp_path, serial):
    """OpenAVFF's first stage trains on Kinetics, where most videos show no face."""
    times = [n / 25 for n in range(90)]
    (tmp_path / "videos" / "real").mkdir(parents=True)
    for name in ("surfing", "cooking"):
        clip = tmp_path / "videos" / "real" / f"{name}.mp4"
        record(clip, times, clicks(3.6, 16_000, [1.0]), rate=16_000, size=(120, 200))
    assert run(config(tmp_path), "--media.face=null") == 0
    store = ElementStore(tmp_path / "elements")
    assert [meta.source for meta in store.metas] == ["real/cooking.mp4", "real/surfing.mp4"]
    assert frame_number(store.read(store.metas[0].key, frames=[40]).frames[0]) == 40
    assert quarantine(tmp_path) == {}
    assert media_of(tmp_path / "elements").face is None
    with pytest.raises(UserError, match=r"media\.face\.detect_fps was null and is now 2\.5.*choose another output"):
        run(config(tmp_path))


def test_face_of_a_window_is_recorded_and_windows_it_leaves_are_listed(tmp_path, serial):
    """It is in the record and in KEY.json; the columns of the index are as they were."""
    (tmp_path / "videos" / "real").mkdir(parents=True)
    images = [scene([Place(240 + max(0, n - 90) * 25, 130)]) for n in range(160)]
    times = [n / 25 for n in range(160)]
    clip = tmp_path / "videos" / "real" / "leaves.mp4"
    record(clip, times, clicks(6.4, 16_000, [1.0, 4.0]), rate=16_000, size=SIZE, images=images)
    assert run(config(tmp_path)) == 0
    store = tmp_path / "elements"
    [line] = map(json.loads, (store / "journal-000.jsonl").read_text().splitlines())
    [window], [lost] = line["windows"], line["left_out"]
    assert lost["reason"] == "face in the crop for less than 90% of the frames"
    assert f"real/leaves.mp4,{lost['start']},{lost['end']},{lost['reason']}" in (store / "left_out.csv").read_text()
    assert window["face"]["left"] + window["face"]["width"] / 2 == pytest.approx(240, abs=6)
    assert window["face"] | {"left": 0, "top": 0, "width": 0, "height": 0} == {
        "number": 1, "present": 1, "speaks": False, "time": 1.52, "left": 0, "top": 0, "width": 0, "height": 0,
    }  # fmt: skip
    with tarfile.open(store / "shard-000-00000.tar") as shard:
        [member] = [member for member in shard.getmembers() if member.name.endswith(".json")]
        assert json.load(shard.extractfile(member))["face"] == window["face"]
    [meta] = ElementStore(store).metas
    assert (meta.source, meta.start) == ("real/leaves.mp4", 0.0)


def test_audio_only_from_videos_and_audio_files(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4", 6.5)
    path = tmp_path / "videos" / "fake" / "anna__vc.wav"
    path.parent.mkdir()
    record(path, [], clicks(3.5, 16_000, [1.0]), rate=16_000, audio_codec="pcm_s16le")
    assert run(config(tmp_path)) == 0  # with frames, audio files are not listed
    assert [m.source for m in ElementStore(tmp_path / "elements").metas] == ["real/anna.mp4"] * 2
    assert run(config(tmp_path), '--media.keep=["waveform"]', f"--output={tmp_path / 'audio'}") == 0
    store, whole = ElementStore(tmp_path / "audio"), ElementStore(tmp_path / "elements")
    assert [(m.source, m.start) for m in store.metas] == [
        ("fake/anna__vc.wav", 0.0),
        ("real/anna.mp4", 0.0),
        ("real/anna.mp4", 3.072),
    ]
    one, other = (s.read("real/anna_mp4/003072", waveform=True) for s in (store, whole))
    assert np.array_equal(one.waveform, other.waveform)
    assert np.array_equal(one.mel, other.mel)
    assert len(members(store.root)) == 2 * 3  # metadata and audio


def test_short_clips_are_elements_from_1_s_on(tmp_path, serial, capsys):
    video(tmp_path / "videos" / "real" / "anna.mp4", 2.0)
    video(tmp_path / "videos" / "real" / "less.mp4", 0.8)
    assert run(config(tmp_path, max_quarantined=1.0)) == 0
    assert "2 files, 1 elements, 1 of them short, 1 files quarantined" in capsys.readouterr().out
    (meta,) = ElementStore(tmp_path / "elements").metas
    assert (meta.source, meta.start, meta.end, meta.short) == ("real/anna.mp4", 0, pytest.approx(2, abs=0.05), True)
    assert quarantine(tmp_path)["real/less.mp4"].startswith("shorter than 1 s: 0.")
    more = ("--media.short=false", f"--output={tmp_path / 'windows'}")
    assert run(config(tmp_path, max_quarantined=1.0), *more) == 0
    assert "media.short" not in read_settings(tmp_path / "windows")["settings"], "as in stores made before"
    with pytest.raises(UserError, match="media.short was true and is now null"):
        run(config(tmp_path), "--media.short=false")


def test_audio_of_any_duration_is_repeated_on_request(tmp_path, serial):
    """The metadata of audio files have a page, and no video label."""
    videos = tmp_path / "videos"
    videos.mkdir()
    samples = clicks(0.8, 16_000, [0.3])
    record(videos / "short.wav", [], samples, rate=16_000, audio_codec="pcm_s16le")
    record(videos / "clone.wav", [], clicks(4.0, 16_000, [1.0]), rate=16_000, audio_codec="pcm_s16le")
    (videos / "clips.csv").write_text(
        "file,tier,identity,base,method,page\nshort.wav,RVRA,anna,,,p1\nclone.wav,RVFA-SVC,anna,short.wav,w,p1\n"
    )
    assert run(config(tmp_path), '--media.keep=["waveform"]') == 0
    assert quarantine(tmp_path) == {"short.wav": "shorter than 1 s: 0.80 s of audio"}
    more = ('--media.keep=["waveform"]', "--media.repeat_short=true", f"--output={tmp_path / 'repeated'}")
    assert run(config(tmp_path), *more) == 0
    store = ElementStore(tmp_path / "repeated")
    fake, real = store.metas
    assert (real.source, real.page, real.label_video, real.label_audio) == ("short.wav", "p1", None, 0)
    assert (fake.page, fake.label, fake.label_video, fake.label_audio) == ("p1", 1, None, 1)
    repeated = store.read(real.key, waveform=True).waveform
    assert (real.short, len(repeated)) == (True, 49_152)
    assert np.array_equal(repeated[:12_800], repeated[12_800:25_600])
    assert repeated[:12_800] == pytest.approx(samples, abs=1e-3)
    with pytest.raises(UserError, match="repeat_short is for audio alone"):
        run(config(tmp_path), "--media.repeat_short=true")


@pytest.mark.parametrize("keep", [["waveform", "mel", "frames"], ["mel", "frames"], ["waveform", "frames"]])
def test_members_are_those_of_the_windows(tmp_path, serial, keep):
    """The mel is made in the main process, the rest in workers."""
    files = [video(tmp_path / "videos" / "real" / f"{name}.mp4", seconds) for name, seconds in (("a", 3.6), ("b", 2))]
    assert run(config(tmp_path), f"--media.keep={json.dumps(keep)}") == 0
    expected = [list(window["parts"].items()) for file in files for window in extract(file, MediaConfig(keep=keep))]
    with tarfile.open(tmp_path / "elements" / "shard-000-00000.tar") as archive:
        stored = [(name.split(".", 1)[1], archive.extractfile(name).read()) for name in archive.getnames()]
    assert [part for part in stored if part[0] != "json"] == [part for parts in expected for part in parts]


def test_store_without_short_clips_is_continued_without_them(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path), "--media.short=false") == 0
    with pytest.raises(UserError, match="to continue it without short clips, set --media.short=false; or choose"):
        run(config(tmp_path))
    serial.clear()
    assert run(config(tmp_path), "--media.short=false") == 0
    assert serial == []


def test_mel_alone(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path), '--media.keep=["mel"]') == 0
    store = ElementStore(tmp_path / "elements")
    assert store.read(store.metas[0].key).mel.shape == (128, 768)
    with pytest.raises(UserError, match="have no wav"):
        store.read(store.metas[0].key, waveform=True)


def test_frames_alone_are_refused(tmp_path):
    with pytest.raises(UserError, match="frames without audio are no elements"):
        run(config(tmp_path), '--media.keep=["frames"]')


def test_silent_edges_are_left_out_with_their_frames(tmp_path, serial):
    path = tmp_path / "videos" / "real" / "anna.mkv"
    path.parent.mkdir(parents=True)
    samples = np.zeros(16_000 * 6)
    samples[16_000 : 16_000 * 5] = np.random.default_rng(0).normal(0, 0.1, 16_000 * 4)
    record(path, [n / 25 for n in range(150)], samples, rate=16_000, audio_codec="pcm_s16le")
    assert run(config(tmp_path), "--media.trim_silence=true", "--media.hop=0.5") == 0
    store = ElementStore(tmp_path / "elements")
    starts = [m.start for m in store.metas]
    assert starts == pytest.approx([1.0, 1.5], abs=0.03)
    frame = store.read(store.metas[0].key, frames=[0]).frames[0]
    assert frame_number(frame) == pytest.approx(25 * starts[0], abs=0.51)


def partly_fake(folder: Path) -> None:
    """LAV-DF with a real clip and a clip whose third window has fake audio, of three windows each."""
    video(folder / "train" / "000001.mp4", 9.5)
    video(folder / "train" / "000002.mp4", 9.5)
    facts = {"modify_video": False, "split": "train", "original": "train/000001.mp4"}
    rows = [
        {"file": "train/000001.mp4", "modify_audio": False, "fake_periods": [], **facts, "original": None},
        {"file": "train/000002.mp4", "modify_audio": True, "fake_periods": [[3.2, 3.3], [7.0, 7.5]], **facts},
    ]
    (folder / "metadata.json").write_text(json.dumps(rows))


def test_all_windows_are_stored_and_say_what_of_them_is_fake(tmp_path, serial, capsys):
    """A data set whose manifest has fake periods."""
    folder = tmp_path / "videos"
    partly_fake(folder)
    make_manifest.main(["--root", str(folder), "--out", str(tmp_path / "m.parquet"), "--workers", "1"])
    (folder / "metadata.json").unlink()  # the manifest is sufficient
    assert run(config(tmp_path), f"--manifest={tmp_path / 'm.parquet'}", "--media.min_fake=0.5") == 0
    assert "media.min_fake has no effect: all windows are stored; set data.min_fake" in capsys.readouterr().out
    store = ElementStore(tmp_path / "elements")
    assert [(m.tier, m.label, m.start) for m in store.metas] == [
        ("RVRA", 0, 0.0), ("RVRA", 0, 3.072), ("RVRA", 0, 6.144), ("RVFA", 1, 0.0), ("RVFA", 1, 3.072),
        ("RVFA", 1, 6.144),
    ]  # fmt: skip
    assert np.array([m.window for m in store.metas][3:]) == pytest.approx(np.array([[0, 0], [0.1, 0], [0.5, 0]]))
    with tarfile.open(tmp_path / "elements" / "shard-000-00000.tar") as shard:
        facts = json.load(shard.extractfile("train/000002_mp4/003072.json"))
    assert (facts["label"], facts["audio_fake_seconds"], facts["visual_fake_seconds"]) == (1, 0.1, 0.0)
    assert (tmp_path / "elements" / "left_out.csv").read_text().splitlines() == ["source,start,end,reason"]
    assert left_out_by_truth(tmp_path / "elements") == 0
    with pytest.raises(UserError, match=r"has none of the files that .*m.parquet lists"):
        run(config(tmp_path), f"--manifest={tmp_path / 'm.parquet'}", f"--input={tmp_path}")


def test_store_made_when_ground_truth_chose_windows(tmp_path, serial):
    """Such a store is continued if it lost no window by that, and otherwise says how many it lost."""
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path)) == 0
    store, journal = (tmp_path / "elements" / name for name in ("store.json", "journal-000.jsonl"))
    about = json.loads(store.read_text())
    about["settings"]["media.min_fake"] = 0.1
    store.write_text(json.dumps(about))
    former = {key: value for key, value in json.loads(journal.read_text())["clip"].items() if "_fake_per" not in key}
    record = json.loads(journal.read_text()) | {"clip": former}
    del record["crc32"]
    journal.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    serial.clear()
    assert run(config(tmp_path)) == 0
    assert serial == []  # nothing was decoded again
    lost = [{"start": start, "end": start + 3.072, "reason": "nothing in it is fake"} for start in (3.0, 6.0)]
    journal.write_text(json.dumps(record | {"left_out": lost}, separators=(",", ":")) + "\n")
    assert left_out_by_truth(store.parent) == 2
    with pytest.raises(UserError, match=r"made with other settings \(media.min_fake was 0.1 and is now null\)"):
        run(config(tmp_path))


def test_reconstruction_error_beside_the_mel(tmp_path, serial):
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (4,)}
    unet = diffusers.UNet2DModel(
        sample_size=(128, 256), in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=2,
        add_attention=False, **blocks,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "unet")
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    model = {"model": str(tmp_path / "unet"), "sha256": sha256_of(weights), "steps": 2, "device": "cpu"}
    video(tmp_path / "videos" / "real" / "anna.mp4")
    media = {"mel_err": model, "keep": ["waveform", "mel"]}
    assert run(config(tmp_path, media=media)) == 0
    store = ElementStore(tmp_path / "elements")
    element = store.read(store.metas[0].key, mel_err=True)
    expected = Reconstruction(ReconstructionConfig(**model)).error(element.mel)
    assert np.abs(element.mel_err - expected).max() < 1e-4
    assert element.mel_err.max() > 0
    inputs = Inputs(None, audio="mel_err")
    assert inputs.prepare(stack([inputs.raw(element)]), None).mel.std().item() == pytest.approx(1, abs=1e-3)
    serial.clear()
    with pytest.raises(UserError, match="sha256 is .*, the config expects 0000"):
        run(config(tmp_path, media={"mel_err": {**model, "sha256": "0" * 64}}), f"--output={tmp_path / 'other'}")
    assert serial == []
    assert not (tmp_path / "other").exists()


def test_other_tools_read_the_shards(tmp_path, serial):
    """Read with `webdataset`, without a decoder of this project."""
    many(tmp_path / "videos", 3)
    assert run(config(tmp_path, max_quarantined=1.0)) == 0
    shard = str(tmp_path / "elements" / "shard-000-00000.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"real/anna__{n:02d}_mp4/000000" for n in range(3)]
    store = ElementStore(tmp_path / "elements")
    for sample, m in zip(samples, store.metas, strict=True):
        assert sample["json"]["source"] == m.source
        assert np.array_equal(sample["mel.npy"], store.read(m.key).mel)
        assert sample["wav"][:4] == b"RIFF"
        assert len(frame_sizes(sample["mjpeg"])) == 77
