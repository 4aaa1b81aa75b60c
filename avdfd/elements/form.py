"""Elements as arrays and as members of a shard, and the conversion between both.

waveform (49152,) float32   mel, mel_err (128, 768) float32   frames (77, 224, 224, 3) uint8 RGB
landmarks (77, 71, 3) float32

Elements that are whole clips, and those of clips shorter than a window, are stored with a waveform, frames and
landmarks of their own length: `samples_of` and `frames_of` the seconds from `start` to `end`. Whole clips have no mel.
A short clip is read as a window: its audio, frames and landmarks are repeated together, and its mel is that of the
repeated audio.
"""

import io
import json
import wave
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from avdfd.core.clips import CLIP_FIELDS, ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.periods import WindowLabel
from avdfd.features.mouth_shape import USED
from avdfd.features.window import (
    FACE_SIZE,
    FRAMES,
    MEL_BINS,
    MEL_FRAMES,
    SAMPLE_RATE,
    WINDOW,
    frames_of,
    is_short,
    samples_of,
)

MEMBERS = {
    "wav": 2 * WINDOW,  # of a window
    "mel.npy": 4 * MEL_BINS * MEL_FRAMES,
    "mel_err.npy": 4 * MEL_BINS * MEL_FRAMES,
    "mjpeg": 0,
}
"""Optional members of an element: suffix -> number of data bytes at the end of the member; 0 = the whole member."""
LANDMARKS = "landmarks.npy"
"""A further optional member. Journals and indices written before there was one do not state it."""
LANDMARK_BYTES = 2 * 3 * len(USED)
"""Bytes of the landmarks of a frame."""
_STEPS = 64  # per pixel: landmarks are stored as int16 of this unit, up to 512 pixels from the corner of the crop
_HEADER = 1 << 12  # bytes of a JPEG in which its size is stated; in those of `encode_bgr` it is below 200
NOT_FINITE = "has values that are not finite"

_JSON_FIELDS = (
    *("key", "tier", "label", "label_video", "label_audio", "identities", "source", "base", "method", "race", "gender"),
    *("start", "end", "sha256", "version", "page"),
)
"""Order of the first fields of KEY.json, in which stores have always had them."""
_LABELS = ("label", "label_video", "label_audio")
"""Labels of the clip, for other tools."""
_FAKE_SECONDS = ("audio_fake_seconds", "visual_fake_seconds")
"""Label of the window, for other tools."""
_SHORT = "short"
"""True for a clip that is shorter than a window, for other tools."""
_FACE = "face"
"""Place of the face that the frames are cropped to, for other tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementMeta(ClipMeta):
    """Metadata of an element: the facts about its clip, and the window."""

    key: str
    start: float
    """Seconds from the start of the clip."""
    end: float
    version: str
    """Hash of the preprocessing settings."""

    @property
    def window(self) -> WindowLabel:
        """Label of the window, which may be real although its clip is a fake: what of it is fake, by modality."""
        return self.window_label(self.start, self.end)

    @property
    def short(self) -> bool:
        """True for a clip that is shorter than a window."""
        return is_short(self.start, self.end)


_META_FIELDS = [field.name for field in fields(ElementMeta)]


class Jpegs(NamedTuple):
    """Frames of an element as they are stored."""

    data: np.ndarray
    """(n,) uint8, one JPEG after the other."""
    sizes: np.ndarray
    """(T,) int64, bytes of each."""


@dataclass(frozen=True)
class Element:
    """An element; arrays that were not requested are None."""

    meta: ElementMeta | None
    waveform: Any = None
    """(49152,) float32; as many samples as it has for a whole clip."""
    mel: Any = None
    """(128, 768) float32 log mel, not z-scored."""
    mel_err: Any = None
    """(128, 768) float32 reconstruction error of a diffusion model (avdfd/media/reconstruction.py)."""
    frames: Any = None
    """(n, 224, 224, 3) uint8 RGB, or `Jpegs` if they are wanted encoded."""
    landmarks: Any = None
    """(n, 71, 3) float32, those of `avdfd.features.mouth_shape.USED` in each frame: x, y and depth in its pixels."""


def pack(meta: ElementMeta, waveform: np.ndarray, frames: np.ndarray, jpeg_quality: int) -> dict[str, bytes]:
    """Return an element as members of a shard, by suffix. The mel is computed from the waveform rounded to 16 bits."""
    return {
        "json": encode_meta(meta),
        **encode_audio(waveform),
        "mjpeg": b"".join(encode_frame(frame, jpeg_quality) for frame in frames),
    }


def unpack(parts: Mapping[str, bytes]) -> Element:
    """Inverse of `pack`; arrays without a member are None."""
    meta = decode_meta(parts["json"]) if "json" in parts else None
    wav, mjpeg = parts.get("wav"), parts.get("mjpeg")
    waveform = decode_wav(wav) if wav is not None else None
    frames = None
    if mjpeg is not None:
        jpegs = np.split(np.frombuffer(mjpeg, np.uint8), np.cumsum(frame_sizes(mjpeg))[:-1])
        frames = np.stack([decode_frame(jpeg) for jpeg in jpegs])
    names = ("mel.npy", "mel_err.npy", LANDMARKS)
    mel, mel_err, stored = (decode_array(parts[name]) if name in parts else None for name in names)
    return Element(meta, waveform, mel, mel_err, frames, None if stored is None else decode_landmarks(stored))


def as_window(element: Element) -> Element:
    """Repeat a clip shorter than a window, audio, frames and landmarks from their start, until it fills one."""
    waveform, frames, landmarks = element.waveform, element.frames, element.landmarks
    return replace(
        element,
        waveform=None if waveform is None else repeated(waveform, WINDOW),
        frames=None if frames is None else repeated(frames, FRAMES),
        landmarks=None if landmarks is None else repeated(landmarks, FRAMES),
    )


def repeated(values: np.ndarray, count: int) -> np.ndarray:
    """Repeat samples or frames (n, ...) from their start until there are `count`."""
    return values if len(values) == count else values[np.arange(count) % len(values)]


def encode_meta(meta: ElementMeta, face: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of KEY.json: all fields, and what follows from them for other tools.

    `face` says where the face is that the frames are cropped to.
    """
    known = {name: getattr(meta, name) for name in (*_META_FIELDS, *_LABELS)}
    known |= {name: round(seconds, 6) for name, seconds in zip(_FAKE_SECONDS, meta.window, strict=True)}
    known[_SHORT] = meta.short
    known |= {} if face is None else {_FACE: dict(face)}
    ordered = {name: known[name] for name in dict.fromkeys((*_JSON_FIELDS, *known))}
    return json.dumps(ordered, ensure_ascii=False).encode()


def decode_meta(data: bytes) -> ElementMeta:
    """Inverse of `encode_meta`; a fact that the store lacks gets its default."""
    known = json.loads(data)
    known = {name: value for name, value in known.items() if name not in (*_LABELS, *_FAKE_SECONDS, _SHORT, _FACE)}
    return ElementMeta(**{**known, "identities": tuple(known["identities"])})


def encode_audio(waveform: np.ndarray, *, mel: bool = True) -> dict[str, bytes]:
    """Return the WAV member of samples (S,) in [-1, 1] and, if `mel`, the mel member computed from that WAV."""
    parts = {"wav": encode_wav(waveform, SAMPLE_RATE)}
    if mel:
        parts["mel.npy"] = encode_array(mel_of(decode_wav(parts["wav"])))
    return parts


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Return samples (S,) in [-1, 1] as a 16-bit WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", ""))
        file.writeframes(quantise(samples).tobytes())
    return buffer.getvalue()


def decode_wav(wav: bytes) -> np.ndarray:
    """Return the samples (S,) float32 of a WAV member."""
    with wave.open(io.BytesIO(wav)) as file:
        return pcm(np.frombuffer(file.readframes(file.getnframes()), np.uint8))


def data_size(suffix: str, seconds: float) -> int:
    """Return the number of data bytes at the end of a member of an element of this length; 0 = the whole member."""
    if suffix == LANDMARKS:
        return frames_of(seconds) * LANDMARK_BYTES
    return 2 * samples_of(seconds) if suffix == "wav" else MEMBERS[suffix]


def quantise(waveform: np.ndarray) -> np.ndarray:
    """Return samples as 16-bit integers, clipped to [-1, 1]."""
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")


def mel_of(waveform: np.ndarray) -> np.ndarray:
    """Return the log mel (128, 768) of a stored waveform (49152,)."""
    # Imported here, as torch takes a second and scripts without models read stores too.
    import torch

    from avdfd.features.mel import log_mel

    return log_mel(torch.from_numpy(waveform)).numpy()


def encode_array(array: np.ndarray) -> bytes:
    """Return an array as the content of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def decode_array(member: bytes) -> np.ndarray:
    """Inverse of `encode_array`."""
    return np.load(io.BytesIO(member))


def is_finite(array: np.ndarray) -> bool:
    """Return True if no value of a stored array is infinite or not a number."""
    return bool(np.isfinite(array).all())


def encode_landmarks(points: np.ndarray) -> bytes:
    """Return landmarks (n, 71, 3) in pixels as a member, rounded to 1/64 pixel. Raises ValueError if not finite."""
    if points.shape[1:] != (len(USED), 3) or not is_finite(points):
        raise ValueError(f"landmarks {points.shape}: not {len(USED)} finite points a frame")
    return encode_array(np.clip(np.rint(points * _STEPS), -32768, 32767).astype("<i2"))


def decode_landmarks(stored: np.ndarray) -> np.ndarray:
    """Return stored landmarks, int16, as float32 (n, 71, 3) in pixels."""
    return stored.reshape(-1, len(USED), 3).astype(np.float32) / _STEPS


def encode_frame(frame: np.ndarray, quality: int) -> bytes:
    """Return an RGB frame (224, 224, 3) uint8 as a JPEG without chroma subsampling."""
    return encode_bgr(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)


def encode_bgr(frame: np.ndarray, quality: int) -> bytes:
    """Return a frame (224, 224, 3) uint8 with blue first as `encode_frame` does."""
    chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, *chroma]
    return cv2.imencode(".jpg", frame, settings)[1].tobytes()


def decode_frame(jpeg: np.ndarray) -> np.ndarray:
    """Return the RGB frame (224, 224, 3) uint8 of a JPEG (n,) uint8. Raises UserError if it is damaged."""
    frame = cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)
    if frame is None or frame.shape != (FACE_SIZE, FACE_SIZE, 3):
        raise UserError("a stored frame is damaged; delete the element store and make it again")
    return frame


def jpeg_side(jpeg: np.ndarray) -> tuple[int, int] | None:
    """Return height and width that the header of a JPEG (n,) uint8 states; None if it has no header."""
    data, at = jpeg[:_HEADER].tobytes(), 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 9 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def frame_sizes(mjpeg: bytes) -> list[int]:
    """Return the sizes in bytes of concatenated JPEGs, split at each end marker followed by a start marker.

    JPEG data cannot contain this sequence, as 0xFF is escaped in it.
    """
    return [len(jpeg) + 4 for jpeg in mjpeg[2:-2].split(b"\xff\xd9\xff\xd8")]


def meta_of(clip: Mapping[str, Any], window: Mapping[str, Any], version: str) -> ElementMeta:
    """Return the metadata of a window; `clip` has the fields of `ClipMeta`, `window` has key, start and end."""
    known = {name: clip[name] for name in CLIP_FIELDS if name in clip}
    place = {name: window[name] for name in ("key", "start", "end")}
    return ElementMeta(**{**known, **place, "identities": tuple(clip["identities"]), "version": version})


def pcm(data: np.ndarray) -> np.ndarray:
    """Return 16-bit samples, given as bytes, as float32 in [-1, 1]."""
    return data.view("<i2").astype(np.float32) / 32768
