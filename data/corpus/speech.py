"""Speech of the built-in corpus: espeak-ng's library, called through ctypes, with the time of every phoneme.

The library is part of the wheel `espeakng-loader`, so no system package is needed. It runs synchronously and passes
samples and events to a callback. It keeps global state that initialising it again does not clear: speech depends
slightly on earlier speech. The same calls in a new process give the same speech; therefore the corpus uses one process
per identity. Its noise is seeded here for every text, as the library seeds it with the time of day. Never call it from
two threads.

References: the C interface is `speak_lib.h` of espeak-ng 1.52.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import espeakng_loader
import numpy as np
from scipy.signal import resample, resample_poly

RATE = 16_000  # Hz, of all audio of the corpus

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns after the last call of the callback
_PHONEME_EVENTS, _DONT_EXIT = 0x1, 0x8000
_UTF8 = 1
_SPEED, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7
_SEED = 1


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms from the start of the text
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """A speaker: an espeak-ng voice variant, its pitch and intonation range (0-99), its rate (words per minute), and
    the factor by which its vocal tract is shorter than the variant's (which raises formants and pitch)."""

    variant: str
    pitch: int
    range: int
    rate: int
    tract: float = 1.0


@dataclass(frozen=True)
class Speech:
    """Speech: samples (S,) float64 in [-1, 1] at 16 kHz, and the start (s) and name of each phoneme."""

    samples: np.ndarray
    phonemes: Sequence[tuple[float, str]]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE


@lru_cache(maxsize=1)
def _library() -> tuple[ctypes.CDLL, int]:
    """Return the library, initialised once per process, and its sampling rate."""
    lib = ctypes.CDLL(espeakng_loader.get_library_path())
    lib.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
    ]  # fmt: skip
    lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    rate = lib.espeak_Initialize(
        _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _PHONEME_EVENTS | _DONT_EXIT
    )
    if rate <= 0:
        raise RuntimeError(f"espeak-ng did not start (error {rate}); reinstall espeakng-loader")
    return lib, rate


def speak(text: str, voice: Voice) -> Speech:
    """Synthesise `text`, without the silence before and after it."""
    lib, rate = _library()
    if lib.espeak_SetVoiceByName(f"en-us+{voice.variant}".encode()) != 0:
        raise ValueError(f"espeak-ng has no voice variant '{voice.variant}'")
    settings = ((_SPEED, voice.rate), (_VOLUME, 60), (_PITCH, voice.pitch), (_RANGE, voice.range))
    for parameter, value in settings:
        lib.espeak_SetParameter(parameter, value, 0)

    chunks: list[np.ndarray] = []
    phonemes: list[tuple[float, str]] = []

    def receive(samples, count, events):  # type: ignore[no-untyped-def]  # ctypes calls it
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float64))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                phonemes.append((events[i].audio_position / 1000, events[i].id.string.decode("utf-8", "replace")))
            i += 1
        return 0

    lib.espeak_ng_SetRandSeed(_SEED)
    callback = _Callback(receive)
    lib.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    if lib.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None) != 0:
        raise RuntimeError("espeak-ng could not speak the text")
    down = round(rate * voice.tract / 100)  # faster playback is equivalent to a shorter vocal tract
    samples = resample_poly(np.concatenate(chunks) / 32768, RATE // 100, down)
    faster = down * 100 / rate
    return _trim(samples, [(t / faster, name) for t, name in phonemes])


def _trim(samples: np.ndarray, phonemes: Sequence[tuple[float, str]], level: float = 0.01) -> Speech:
    """Cut the silence at both ends, because its length is drawn elsewhere for all kinds of speech."""
    loud = np.flatnonzero(np.abs(samples) > level * np.abs(samples).max())
    start, stop = int(loud[0]), int(loud[-1]) + 1
    return Speech(samples[start:stop], [(t - start / RATE, name) for t, name in phonemes])


def speak_within(text: str, voice: Voice, samples: int) -> Speech:
    """Synthesise `text` in exactly `samples` samples: the rate is searched, the rest is stretched."""
    speech = speak(text, voice)
    for _ in range(3):
        rate = int(np.clip(round(voice.rate * len(speech.samples) / samples), 80, 420))
        if rate == voice.rate:
            break
        voice = replace(voice, rate=rate)
        speech = speak(text, voice)
    ratio = samples / len(speech.samples)
    return Speech(resample(speech.samples, samples), [(t * ratio, name) for t, name in speech.phonemes])
