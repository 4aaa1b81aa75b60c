"""The form of elements: as arrays, as members of a shard, and as lines of the index.

waveform (49152,) float32   mel (128, 768) float32 log mel, not z-scored   frames (77, 224, 224, 3) uint8 RGB
"""

import base64
import io
import json
import wave
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from avdfd.datasets import tiers
from avdfd.errors import UserError
from avdfd.features import SAMPLE_RATE, WINDOW, log_mel

STORE = "store.json"
INDEX = "index.jsonl"


@dataclass(frozen=True)
class ElementMeta:
    """What is known about an element."""

    key: str
    tier: str
    label: int
    label_video: int | None
    label_audio: int | None
    identities: tuple[str, ...]
    """Everybody whose face or voice is in it."""
    source: str
    """Path of the clip, relative to the root of the videos."""
    base: str
    """Clip that this one was made from, or the clip itself."""
    method: str
    race: str
    gender: str
    start: float
    end: float
    """Seconds on the time line of the clip."""
    sha256: str
    """Of the source file."""
    version: str
    """Of the preprocessing and its settings."""


@dataclass(frozen=True)
class Element:
    """An element; a part that was not asked for is None."""

    meta: ElementMeta | None
    waveform: Any = None
    """(49152,) float32."""
    mel: Any = None
    """(128, 768) float32 log mel, not z-scored."""
    frames: Any = None
    """(n, 224, 224, 3) uint8 RGB."""


def pack(meta: ElementMeta, waveform: np.ndarray, frames: np.ndarray, jpeg_quality: int) -> dict[str, bytes]:
    """An element as the members of a shard, by suffix. The waveform is rounded to 16 bits, and the mel is of that."""
    return {
        "json": encode_meta(meta),
        **encode_sound(waveform),
        "mjpeg": b"".join(encode_frame(frame, jpeg_quality) for frame in frames),
    }


def unpack(parts: Mapping[str, bytes]) -> Element:
    """Inverse of `pack`; without a "json" part, `meta` is None."""
    meta = json.loads(parts["json"]) if "json" in parts else None
    if meta is not None:
        meta = ElementMeta(**{**meta, "identities": tuple(meta["identities"])})
    jpegs = np.split(np.frombuffer(parts["mjpeg"], np.uint8), np.cumsum(frame_sizes(parts["mjpeg"]))[:-1])
    return Element(
        meta=meta,
        waveform=pcm(np.frombuffer(parts["wav"], np.uint8)[-2 * WINDOW :]),
        mel=np.load(io.BytesIO(parts["mel.npy"])),
        frames=np.stack([decode_frame(jpeg) for jpeg in jpegs]),
    )


def encode_meta(meta: ElementMeta) -> bytes:
    return json.dumps(asdict(meta), ensure_ascii=False).encode()


def encode_sound(waveform: np.ndarray) -> dict[str, bytes]:
    """Samples (49152,) in [-1, 1] -> WAV and the mel of what the WAV holds."""
    samples = np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")
    sound, mel = io.BytesIO(), io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, WINDOW, "NONE", ""))
        file.writeframes(samples.tobytes())
    np.save(mel, log_mel(torch.from_numpy(samples.astype(np.float32) / 32768)).numpy())
    return {"wav": sound.getvalue(), "mel.npy": mel.getvalue()}


def encode_frame(frame: np.ndarray, quality: int) -> bytes:
    """RGB (224, 224, 3) uint8 -> JPEG with full chroma."""
    chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, *chroma]
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings)[1].tobytes()


def decode_frame(jpeg: np.ndarray) -> np.ndarray:
    """Bytes of a JPEG (n,) uint8 -> RGB (224, 224, 3) uint8. Raises UserError if they are damaged."""
    frame = cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise UserError("a stored frame is damaged; delete the element store and make it anew")
    return frame


def frame_sizes(mjpeg: bytes) -> list[int]:
    """Sizes of concatenated JPEGs. Their data cannot hold the mark of an end and a start: 0xFF is escaped in it."""
    return [len(jpeg) + 4 for jpeg in mjpeg[2:-2].split(b"\xff\xd9\xff\xd8")]


def pack_sizes(sizes: list[int]) -> str:
    """Sizes of frames for the index: as numbers they would be most of what makes a large index slow to read."""
    return base64.b64encode(np.array(sizes, "<u4").tobytes()).decode()


def unpack_sizes(text: str) -> np.ndarray:
    """Inverse of `pack_sizes`."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(int)


def meta_of(clip: Mapping[str, Any], window: Mapping[str, Any], version: str) -> ElementMeta:
    """Metadata of a window of a clip; the labels are those of its tier."""
    tier = tiers.tier(clip["tier"])
    return ElementMeta(
        key=window["key"],
        tier=tier.name,
        label=tier.label,
        label_video=tier.video,
        label_audio=tier.audio,
        identities=tuple(clip["identities"]),
        source=clip["source"],
        base=clip["base"],
        method=clip["method"],
        race=clip["race"],
        gender=clip["gender"],
        start=window["start"],
        end=window["end"],
        sha256=clip["sha256"],
        version=version,
    )


def read_settings(root: Path) -> dict[str, Any]:
    """What store.json says. Raises UserError if there is none."""
    try:
        return json.loads((root / STORE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        problem = "is not an element store" if root.exists() else "no such element store"
        raise UserError(f"{root}: {problem}; data/preprocess.py makes one") from None
    except json.JSONDecodeError:
        raise UserError(f"{root / STORE}: damaged; delete the store and make it anew") from None


def read_index(root: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The records of a store by source, and how many bytes of the index are whole lines.

    A later line replaces an earlier one of the same source. A last line without its end is of a run that was
    interrupted, and does not count.
    """
    records: dict[str, dict[str, Any]] = {}
    try:
        data = (root / INDEX).read_bytes()
    except FileNotFoundError:
        return records, 0
    whole = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            raise UserError(f"{root / INDEX}: line {number} is damaged; delete the store and make it anew") from None
        records[record["clip"]["source"]] = record
    return {source: record for source, record in records.items() if "gone" not in record}, whole


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def pcm(data: np.ndarray) -> np.ndarray:
    """Bytes of 16-bit samples -> float32 in [-1, 1]."""
    return data.view("<i2").astype(np.float32) / 32768
