"""Choice of streams, truncated files, and concealment of damage."""

from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.core.clips import make_entry
from avdfd.core.errors import MediaError
from avdfd.core.tiers import RVRA
from avdfd.corpora.inventory import examine
from avdfd.elements.form import encode_wav
from avdfd.media.audio import read_audio
from avdfd.media.streams import Reading
from avdfd.media.video import read_video
from avdfd.media.windows import windows
from data.preprocess import spool_windows
from tests.helpers.videos import SECONDS, Disposition, write

RATE = 16_000


def hertz(path: Path, reading: Reading | None = None) -> int:
    (piece,) = read_audio(path, reading=reading)
    spectrum = np.abs(np.fft.rfft(piece.samples[RATE : 2 * RATE]))
    return round(float(spectrum.argmax()) / 100) * 100


def test_default_track_is_taken(tmp_path):
    reading = Reading()
    tones = [{"hertz": 400}, {"hertz": 900, "disposition": Disposition.default}]
    assert hertz(write(tmp_path / "a.mkv", [{}], tones), reading) == 900
    assert (reading.audio_stream, reading.choices) == (2, 1)
    assert reading.facts() == {"audio_stream": 2, "video_stream": None}


@pytest.mark.parametrize("apart", [Disposition.comment, Disposition.visual_impaired])
def test_commentary_is_not_taken(apart, tmp_path):
    tones = [{"hertz": 400, "disposition": apart | Disposition.default}, {"hertz": 900}]
    assert hertz(write(tmp_path / "a.mkv", [{}], tones)) == 900


def test_silent_track_falls_back_and_a_named_one_does_not(tmp_path):
    tones = [{"hertz": 400, "level": 0.0, "disposition": Disposition.default}, {"hertz": 900}]
    path = write(tmp_path / "a.mkv", [{}], tones)
    assert hertz(path) == 900
    assert not np.abs(read_audio(path, reading=Reading(audio_stream=1))[0].samples).max()
    with pytest.raises(MediaError, match="no audio stream 7; its audio streams are 1, 2"):
        read_audio(path, reading=Reading(audio_stream=7))


def test_undecodable_track_falls_back(tmp_path):
    def spoil(packets):
        return [spoilt(packet) if packet.stream.index == 1 else packet for packet in packets]

    path = write(tmp_path / "a.mkv", [{}], [{"hertz": 400}, {"hertz": 900}], packets_of=spoil)
    reading = Reading()
    assert hertz(path, reading) == 900
    assert reading.damaged_frames == 0, "of the stream that was taken"


def test_scrap_of_a_track_is_not_taken(tmp_path):
    def cut(packets):
        return [packet for packet in packets if packet.stream.index != 1 or packet.pts * packet.time_base < 0.03]

    tones = [{"hertz": 400, "disposition": Disposition.default}, {"hertz": 900}]
    assert hertz(write(tmp_path / "a.mkv", [{}], tones, packets_of=cut)) == 900


def spoilt(packet):
    """Return a packet with its times and other bytes, that no decoder accepts."""
    other = av.Packet(b"\xa5" * max(packet.size // 2, 4))
    other.pts, other.dts, other.duration, other.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    other.stream, other.is_keyframe = packet.stream, packet.is_keyframe
    return other


def grey(path: Path, reading: Reading | None = None) -> int:
    return round(float(np.median([frame.gray()[-1].mean() for frame in read_video(path, "pyav", reading)])) / 10) * 10


@pytest.mark.parametrize("still", [{"codec": "mjpeg", "count": 1}, {"count": 3}])
def test_stills_and_previews_are_not_taken(still, tmp_path):
    path = write(tmp_path / "a.mkv", [{**still, "size": 96, "grey": 180}, {"grey": 60}], [{"hertz": 400}])
    reading = Reading()
    assert grey(path, reading) == 60
    assert reading.video_stream == 1
    assert grey(path, Reading(video_stream=0)) == 180


def test_of_several_videos_the_default_then_the_largest_is_taken(tmp_path):
    small, large = {"grey": 180}, {"size": 96, "grey": 60}
    assert grey(write(tmp_path / "a.mkv", [small, large], [{"hertz": 400}])) == 60
    large["disposition"] = Disposition(0)
    assert grey(write(tmp_path / "b.mkv", [small, large], [{"hertz": 400}])) == 180


def test_manifest_has_the_choice(tmp_path):
    tones = [{"hertz": 400}, {"hertz": 900, "disposition": Disposition.default}]
    facts = examine(write(tmp_path / "a.mkv", [{}], tones))
    assert (facts.error, facts.streams.audio_stream, facts.streams.video_stream, facts.damaged_frames) == ("", 2, 0, 0)


def later(kind: str, seconds: float):
    """Return a function that moves the packets of a kind of stream to a later time."""

    def move(packets):
        for packet in packets:
            if kind in (packet.stream.type, "both"):
                ticks = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packets

    return move


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "flv"])
def test_times_that_begin_late_are_no_truncation(suffix, tmp_path):
    path = write(tmp_path / f"a.{suffix}", [{}], [{"hertz": 400}], packets_of=later("both", 2.0))
    assert hertz(path) == 400


def test_other_streams_that_last_longer_are_no_truncation(tmp_path):
    """A second audio track begins after 4 s; a player plays the first one to its end."""
    tones = [{"hertz": 400, "disposition": Disposition.default}, {"hertz": 900}]

    def move(packets):
        return later("both", 6.0)([p for p in packets if p.stream.index == 2]) + [
            packet for packet in packets if packet.stream.index != 2
        ]

    assert hertz(write(tmp_path / "a.mkv", [{}], tones, packets_of=move)) == 400


def mp3(path: Path, *, xing: bool) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.2, SECONDS * RATE).astype(np.float32)
    noise[: 2 * RATE] = 0  # FFmpeg guesses the duration from the first bit rate, which is low
    options = {"write_xing": str(int(xing)), "id3v2_version": "0"}
    with av.open(str(path), "w", format="mp3", options=options) as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono", options={"compression_level": "9"})
        stream.codec_context.options = {"q": "4"}
        frame = av.AudioFrame.from_ndarray(noise[None], format="fltp", layout="mono")
        frame.rate = RATE
        for packet in stream.encode(frame) + stream.encode():
            container.mux(packet)
    return path


def test_mp3_is_truncated_only_if_it_states_its_length(tmp_path):
    for xing in (False, True):
        path = mp3(tmp_path / "a.mp3", xing=xing)
        assert read_audio(path, video=False)[-1].end == pytest.approx(SECONDS, abs=0.2)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if xing:
            with pytest.raises(MediaError, match=r"truncated: .* s of the stated 4\.\d+ s exist"):
                read_audio(path, video=False)
        else:
            assert read_audio(path, video=False)[-1].end < SECONDS - 1


def test_other_data_behind_an_mp3_is_no_truncation(tmp_path):
    """FFmpeg then guesses the length from the size of the file."""
    path = mp3(tmp_path / "a.mp3", xing=True)
    path.write_bytes(path.read_bytes() + bytes(300_000))
    assert read_audio(path, video=False)[-1].end == pytest.approx(SECONDS, abs=0.2)


def test_truncated_wav_and_one_of_unknown_length(tmp_path):
    path = tmp_path / "a.wav"
    whole = encode_wav(np.random.default_rng(0).normal(0, 0.1, SECONDS * RATE).astype(np.float32), RATE)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="truncated"):
        read_audio(path, video=False)
    at, unknown = whole.index(b"data") + 4, b"\xff" * 4
    path.write_bytes(whole[:4] + unknown + whole[8:at] + unknown + whole[at + 4 : len(whole) // 2])
    assert read_audio(path, video=False)[0].end == pytest.approx(SECONDS / 2, abs=0.01)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_truncated_video_has_its_reason(suffix, tmp_path):
    path = write(tmp_path / f"a.{suffix}", [{}], [{"hertz": 400}]) if suffix != "mp4" else fragmented(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="truncated"):
        read_audio(path)


def fragmented(folder: Path) -> Path:
    """Write an MP4 whose index precedes its packets, so that it opens without its end."""
    source = write(folder / "source.mkv", [{}], [{"hertz": 400}])
    path = folder / "front.mp4"
    with av.open(str(source)) as found, av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in found.streams}
        for packet in found.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    return path


def break_packets(path: Path, **numbers: set[int]) -> Path:
    """Overwrite the packets of a kind of stream of an MP4 that have these numbers."""
    data = bytearray(path.read_bytes())
    for kind, wanted in numbers.items():
        with av.open(str(path)) as container:
            for number, packet in enumerate(container.demux(**{kind: 0})):
                if number in wanted:
                    data[packet.pos : packet.pos + packet.size] = b"\xa5" * packet.size
    path.write_bytes(data)
    return path


def test_isolated_broken_packets_are_concealed_and_counted(tmp_path):
    path = write(tmp_path / "a.mp4", [{"size": 224}], [{"hertz": 400}])
    break_packets(path, video={31}, audio={20, 40})
    reading = Reading()
    found = list(windows(path, MediaConfig(face=None), reading))
    assert [window["start"] for window in found] == [0.0]
    assert reading.damaged_frames == 3
    assert reading.facts() == {"damaged_frames": 3}
    (piece,) = read_audio(path)
    assert piece.end == pytest.approx(SECONDS, abs=0.1), "the audio after a broken packet stays in its place"
    assert np.abs(piece.samples[18 * 1024 : 19 * 1024 + 512]).max() > 0.3, "no zeros in their place"
    frames = list(read_video(path, "pyav"))
    assert len(frames) == SECONDS * 25 - 1
    assert frames[-1].time == pytest.approx(SECONDS - 0.04)


def test_broken_packet_of_avi_moves_no_other_frame(tmp_path):
    path = break_packets(write(tmp_path / "a.avi", [{}], []), video={31})
    frames = list(read_video(path, "pyav", reading := Reading()))
    assert len(frames) + reading.damaged_frames == SECONDS * 25
    assert 1 <= reading.damaged_frames <= 2
    assert [frame.time for frame in frames[-64:]] == pytest.approx([n / 25 for n in range(36, SECONDS * 25)])


def test_too_many_broken_packets_are_refused_with_their_number(tmp_path):
    path = write(tmp_path / "a.mp4", [{}], [{"hertz": 400}])
    break_packets(path, audio=set(range(10, 60, 5)), video=set(range(11, 70, 10)))
    with pytest.raises(MediaError, match=r"^damaged: 10 of \d+ audio frames cannot be decoded$"):
        read_audio(path)
    with pytest.raises(MediaError, match=r"^damaged: \d+ of \d+ video frames cannot be decoded$"):
        list(read_video(path, "pyav"))


def test_store_records_a_choice_and_nothing_of_an_ordinary_file(tmp_path):
    tones = [{"hertz": 400}, {"hertz": 900, "disposition": Disposition.default}]
    media = MediaConfig(face=None)
    for name, tracks, facts in (("a", tones[:1], {}), ("b", tones, {"audio_stream": 2, "video_stream": 0})):
        path = write(tmp_path / f"{name}.mkv", [{}], tracks)
        entry = make_entry(tmp_path, path.name, RVRA)
        assert spool_windows(entry.clip, media, tmp_path).reading == facts
