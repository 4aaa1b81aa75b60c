"""From the channels of a file to one: opposite phases, 5.1, and the values of samples."""

import struct

import av
import numpy as np
import pytest

from avdfd.core.errors import MediaError
from avdfd.elements.form import encode_wav
from avdfd.media.audio import read_audio
from avdfd.media.streams import Reading

RATE = 16_000
TIME = np.arange(2 * RATE) / RATE
SPEECH = 0.3 * np.cos(2 * np.pi * 700 * TIME)
HUM = 0.2 * np.cos(2 * np.pi * 50 * TIME)
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, len(TIME)))


def write(path, channels, layout="stereo", codec="pcm_s16le", form="s16"):
    """Write channels (c, n) as they are to a file."""
    samples = np.asarray(channels, np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.rate = RATE
        for piece in av.AudioResampler(form, layout, RATE).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return path


def read(path):
    reading = Reading()
    (piece,) = read_audio(path, video=False, reading=reading)
    return piece.samples, reading.notes


def level(samples, hertz):
    """Amplitude of a tone."""
    return abs(np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE) @ samples) * 2 / len(samples)


@pytest.mark.parametrize(
    "second", [-SPEECH, -0.95 * SPEECH, -SPEECH + 0.01 * NOISE[1], -SPEECH + 2 * HUM, 0.1 - SPEECH]
)
def test_channels_that_cancel_are_not_mixed(second, tmp_path):
    samples, notes = read(write(tmp_path / "a.wav", [SPEECH, second]))
    assert level(samples, 700) > 0.25
    assert len(notes) == 1
    assert notes[0].startswith("channels cancel each other: channel ")


@pytest.mark.parametrize(
    ("channels", "expected"),
    [([SPEECH, SPEECH], 0.3), ([SPEECH, 0 * SPEECH], 0.15), ([SPEECH, NOISE[0]], 0.15), (NOISE, 0.0)],
)
def test_other_channels_are_averaged(channels, expected, tmp_path):
    samples, notes = read(write(tmp_path / "a.wav", channels))
    assert notes == []
    assert samples == pytest.approx(np.mean(channels, axis=0), abs=2e-4)
    assert level(samples, 700) == pytest.approx(expected, abs=0.01)


def test_channels_that_cancel_for_a_while_are_not_mixed_there(tmp_path):
    """Two stretches, 8.3 to 11.9 s and 13.2 to 14.6 s, count as one; the louder channel is taken there."""
    time = np.arange(20 * RATE) / RATE
    tone = 0.3 * np.cos(2 * np.pi * 700 * time)
    other = 0.05 * np.cos(2 * np.pi * 1900 * time)
    cancels = ((time > 8.3) & (time < 11.9)) | ((time > 13.2) & (time < 14.6))
    left, right = tone + other, np.where(cancels, -0.9 * tone, tone)
    samples, notes = read(write(tmp_path / "a.wav", [left, right]))
    (note,) = notes
    words, seconds = note.split(" alone for ")
    assert words == "channels cancel each other in a part: channel 1 of 2"
    assert 6.3 < float(seconds.removesuffix(" s")) < 10
    levels = [level(samples[second * RATE : (second + 1) * RATE], 700) for second in range(20)]
    assert levels == pytest.approx([0.3] * 20, abs=0.02)
    single = [level(samples[second * RATE : (second + 1) * RATE], 1900) > 0.04 for second in range(20)]
    assert np.diff(np.array(single).astype(int)).tolist().count(1) == 1, "one stretch"
    assert samples[: 6 * RATE] == pytest.approx(((left + right) / 2)[: 6 * RATE], abs=2e-4)
    assert np.abs(np.diff(samples)).max() < 0.14, "no step where the stretch begins and ends"


def test_noise_that_cancels_in_a_pause_is_mixed(tmp_path):
    time = np.arange(6 * RATE) / RATE
    speech = 0.3 * np.cos(2 * np.pi * 700 * time) * (np.abs(time - 3) > 1.5)
    noise = np.random.default_rng(0).normal(0, 0.001, len(time))
    samples, notes = read(write(tmp_path / "a.wav", [speech + noise, speech - noise]))
    assert (samples, notes) == (pytest.approx(speech, abs=2e-4), [])


def test_centre_of_5_1_is_taken_unless_it_is_empty(tmp_path):
    left, right, centre, low = 0.5 * NOISE[0], 0.5 * NOISE[1], SPEECH, HUM
    surround = [left, right, centre, low, right, left]  # FL FR FC LFE BL BR
    samples, notes = read(write(tmp_path / "a.wav", surround, "5.1"))
    assert (samples, notes) == (pytest.approx(SPEECH, abs=2e-4), [])
    samples, notes = read(write(tmp_path / "b.wav", [left, right, 0 * centre, low, right, left], "5.1"))
    assert notes == []
    assert samples == pytest.approx((left + right) * 2 / 5, abs=2e-4), "without the channel of low frequencies"


@pytest.mark.parametrize(
    ("codec", "form"), [("pcm_u8", "u8"), ("pcm_s24le", "s32"), ("pcm_s32le", "s32"), ("pcm_f64le", "dbl")]
)
def test_every_sample_type_has_the_same_scale(codec, form, tmp_path):
    samples, notes = read(write(tmp_path / "a.wav", [SPEECH], "mono", codec, form))
    assert (samples, notes) == (pytest.approx(SPEECH, abs=0.01), [])


@pytest.mark.parametrize(
    ("factor", "scale", "words"),
    [
        (1.0, 1.0, None),
        (10.0, 1 / 0.3 / 10, "beyond full scale"),
        (60.0, 1 / 0.3 / 60, "beyond full scale"),
        (2.0**15, 2.0**-15, "in the range of 16-bit integers"),
        (2.0**23, 2.0**-23, "in the range of 24-bit integers"),
        (2.0**31, 2.0**-31, "in the range of 32-bit integers"),
    ],
)
def test_float_samples_of_another_range_are_scaled_with_a_word(factor, scale, words, tmp_path):
    samples, notes = read(write(tmp_path / "a.wav", [factor * SPEECH], "mono", "pcm_f32le", "flt"))
    assert np.abs(samples).max() == pytest.approx(0.3 * factor * scale, rel=0.05)
    assert [words in note for note in notes] == ([True] if words else [])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_samples_that_are_no_audio_are_refused(value, tmp_path):
    path = write(tmp_path / "a.wav", [SPEECH], "mono", "pcm_f32le", "flt")
    data = bytearray(path.read_bytes())
    data[-4000:-3996] = struct.pack("<f", value)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="samples that are not numbers|beyond the range of 32-bit"):
        read(path)


def test_rate_may_change_within_a_file(tmp_path):
    """AAC that changes from 16 to 24 kHz half way keeps its length and pitch."""
    path = tmp_path / "a.aac"
    data = b""
    for rate in (16_000, 24_000):
        part = tmp_path / f"{rate}.aac"
        with av.open(str(part), "w", format="adts") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            time = np.arange(2 * rate) / rate
            tone = (0.3 * np.cos(2 * np.pi * 700 * time)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.rate = rate
            for packet in stream.encode(frame) + stream.encode():
                container.mux(packet)
        data += part.read_bytes()
    path.write_bytes(data)
    pieces = read_audio(path, video=False)
    assert sum(len(piece.samples) for piece in pieces) / RATE == pytest.approx(4, abs=0.2)
    assert all(level(p.samples[1600:], 700) > 0.2 for p in pieces if len(p.samples) > RATE / 2)


def test_16_bit_wav_is_read_as_it_is(tmp_path):
    (tmp_path / "a.wav").write_bytes(encode_wav(SPEECH.astype(np.float32), RATE))
    assert read(tmp_path / "a.wav")[0] == pytest.approx(SPEECH, abs=1e-4)
