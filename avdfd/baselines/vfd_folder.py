"""Folders in the format of VFD 2022: an image of a face and the mel of a voice for every clip.

VoxCeleb2, real clips:      face/<identity>/<video>/<clip>.jpg   voice/<identity>_<video>_<clip>.npy
DFDC, with fakes:           real/<clip>.jpg   fake/<clip>.jpg    audio_feat/<clip>.npy
Both:                       a folder of such folders, as the authors' Dataset/

An .npy holds the dB mel (512, 301) float32 of the clip's first 3 s (`avdfd.baselines.vfd_inputs.mel_db_2022`).

In the layout of VoxCeleb2 the folder is the identity. In that of DFDC the identities are those in the clip's name, as
`id00012`; a clip without any is an identity of its own. A `clips.csv` beside the folders, as for your own videos
(docs/data.md), states identities, tier and source clip instead.

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195, 2022.
"""

import os
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from avdfd.baselines.vfd_inputs import MEL_2022
from avdfd.core.clips import UNKNOWN, named_identities
from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, RVRA, Tier
from avdfd.core.tree import walk
from avdfd.corpora.adapters import OWN_TABLE
from avdfd.corpora.tables import OwnRow, read_own
from avdfd.datasets.transforms import resize
from avdfd.elements import Element, ElementMeta
from avdfd.features.window import FACE_SIZE

_SECONDS = 3.0
_MAX_PIXELS = 50_000_000
"""Largest image that is decoded: 150 MB. A few bytes can ask for 12 GB."""
_DAMAGED = (ValueError, TypeError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
"""Raised by NumPy for damaged headers, beside ValueError; found by changing bytes."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that are followed by its size."""


class Face(NamedTuple):
    """An image of a data set, and what its place says."""

    source: str
    """Path of the image relative to the data set."""
    voice: str
    """Path of its .npy."""
    tier: Tier
    identities: tuple[str, ...]
    base: str
    """Source clip: the clips of a video have the same."""


def is_vfd_folder(path: str | Path) -> bool:
    """Return True if the folder has one of the two layouts, or a folder in it has."""
    return bool(_datasets(Path(path)))


def is_voxceleb_clip(source: str) -> bool:
    """Return True for a clip of VoxCeleb2's layout."""
    return PurePosixPath(source).parts[-4:-3] == ("face",)


def refuse_losses(root: Path, left_out: Sequence[tuple[str, str]]) -> None:
    """Raise UserError if there are files that are no clips: a folder that is used whole must not lose any silently."""
    if left_out:
        source, reason = left_out[0]
        raise UserError(
            f"{root}: {len(left_out)} files are no clips, e.g. {source}: {reason}; complete or remove "
            "them, or use lists by make_splits.py, which writes them all to left_out.csv"
        )


class VfdFolder:
    """Clips of a VFD folder with the interface of an `ElementStore`; the key is the path of the image.

    The videos themselves are unavailable, so `start` and `end` are those of the mel's 3 s, the time of the image is
    unknown, and the sha256 is replaced by "path:" and the path: copies of a file under another name are not detected.
    Raises UserError for another layout and a folder without clips.
    """

    version = "vfd-folder"
    whole = False
    has_waveforms = False
    has_frames = True
    has_landmarks = False

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        datasets = _datasets(self.root)
        if not datasets:
            state = "is not a VFD folder" if self.root.is_dir() else "no such folder"
            raise UserError(f"{root}: {state}; one has face/ and voice/, or audio_feat/ beside real/ or fake/")
        clips: list[tuple[ElementMeta, str]] = []
        self.left_out: list[tuple[str, str]] = []
        """Path and reason of every file and table row that is no clip."""
        for name in datasets:
            self._add(name, clips)
        if not clips:
            why = f" ({self.left_out[0][0]}: {self.left_out[0][1]})" if self.left_out else ""
            raise UserError(
                f"{root}: no clips; expected face/<identity>/<video>/<clip>.jpg or real|fake/<clip>.jpg, each with its "
                f".npy{why}"
            )
        clips.sort(key=lambda clip: clip[0].key)
        self.left_out.sort()
        self.metas = [meta for meta, _ in clips]
        self.index = {meta.key: position for position, meta in enumerate(self.metas)}
        self._voices = [voice for _, voice in clips]

    def __len__(self) -> int:
        return len(self.metas)

    def check_complete(self) -> None:
        """Raise UserError if a file is no clip."""
        refuse_losses(self.root, self.left_out)

    def read(
        self,
        key: str,
        *,
        waveform: bool = False,
        mel: bool = True,
        mel_err: bool = False,
        frames: Sequence[int] | None = None,
        landmarks: bool = False,
    ) -> Element:
        """Read an element: the dB mel (512, 301) for any audio, and the single image (1, 224, 224, 3) for any frames.

        Raises KeyError for an unknown key and UserError for damaged files.
        """
        position = self.index[key]
        return Element(
            meta=self.metas[position],
            mel=_read_mel(self.root / self._voices[position]) if mel or waveform else None,
            frames=read_face(self.root / key)[None] if frames is not None else None,
        )

    def _add(self, name: str, clips: list[tuple[ElementMeta, str]]) -> None:
        """Add the clips of one data set, the folder `name`, and the files of it that are no clips."""
        root, before = self.root / name, f"{name}/" if name else ""
        faces, voices, others = _voxceleb(root) if _is_voxceleb(root) else _dfdc(root)
        rows = {row.source: row for row in read_own(root / OWN_TABLE)} if (root / OWN_TABLE).is_file() else None
        spare = set(voices)
        for face in faces:
            spare.discard(face.voice)
            reason = "" if face.voice in voices else f"a face without a voice: {before}{face.voice} is missing"
            if rows is not None and face.source not in rows:
                reason = reason or f"not listed in {before}{OWN_TABLE}"
            if reason:
                others.append((face.source, reason))
            else:
                clips.append((self._meta(before, face, rows), before + face.voice))
        others += [(voice, "a voice without a face") for voice in spare]
        listed = (rows or {}).keys() - {face.source for face in faces}
        others += [(source, f"listed in {before}{OWN_TABLE}, but there is no such image") for source in listed]
        self.left_out += [(before + path, reason) for path, reason in others]

    def _meta(self, before: str, face: Face, rows: Mapping[str, OwnRow] | None) -> ElementMeta:
        source = before + face.source
        facts: dict[str, Any] = {"identities": face.identities, "method": "real" if face.tier is RVRA else UNKNOWN}
        tier, base = face.tier, face.base
        if rows is not None:
            row = rows[face.source]
            if row.tier.label != tier.label:
                raise UserError(
                    f"{self.root / before / OWN_TABLE}: '{face.source}' is {row.tier.name} in another folder"
                )
            facts |= {name: value for name, value in row.facts.items() if name not in ("base", "split")}
            tier, base = row.tier, row.facts.get("base", base)
        return ElementMeta(
            key=source,
            tier=tier.name,
            source=source,
            base=before + base,
            start=0.0,
            end=_SECONDS,
            sha256=f"path:{source}",
            version=self.version,
            **facts,
        )


def _datasets(root: Path) -> list[str]:
    """Return the data sets of a folder by their path in it: "" if the folder is one itself."""
    if _is_voxceleb(root) or _is_dfdc(root):
        return [""]
    if not root.is_dir():
        return []
    inside = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(path.name for path in inside if _is_voxceleb(path) or _is_dfdc(path))


def _is_voxceleb(root: Path) -> bool:
    return (root / "face").is_dir() and (root / "voice").is_dir()


def _is_dfdc(root: Path) -> bool:
    return (root / "audio_feat").is_dir() and ((root / "real").is_dir() or (root / FAKE.folder).is_dir())


class _Found(NamedTuple):
    """Files of a data set."""

    faces: list[Face]
    voices: set[str]
    others: list[tuple[str, str]]
    """Path and reason of every file that is neither."""


def _voxceleb(root: Path) -> _Found:
    found = _Found([], set(), [])
    for path in _files(root, ("face",), ".jpg", found.others):
        _, *places, _ = path.parts
        if len(places) == 2:
            base, voice = "/".join(path.parts[:-1]), f"voice/{'_'.join(places)}_{path.stem}.npy"
            found.faces.append(Face(str(path), voice, RVRA, (places[0],), base))
        else:
            found.others.append((str(path), "not at face/<identity>/<video>/<clip>.jpg"))
    found.voices.update(str(path) for path in _files(root, ("voice",), ".npy", found.others))
    return found


def _dfdc(root: Path) -> _Found:
    found = _Found([], set(), [])
    for path in _files(root, ("real", FAKE.folder), ".jpg", found.others):
        tier = RVRA if path.parts[0] == "real" else FAKE
        if len(path.parts) == 2:
            named = named_identities(path.stem, otherwise=path.stem)
            found.faces.append(Face(str(path), f"audio_feat/{path.stem}.npy", tier, named, str(path)))
        else:
            found.others.append((str(path), f"not at {path.parts[0]}/<clip>.jpg"))
    found.voices.update(str(path) for path in _files(root, ("audio_feat",), ".npy", found.others))
    return found


def _files(root: Path, folders: Iterable[str], suffix: str, others: list[tuple[str, str]]) -> Iterator[PurePosixPath]:
    """Yield the files with a suffix below folders of a data set, relative to it; add all others that are not hidden.

    Links are followed, but not to a folder that they are in.
    """
    for source, reason in (found for folder in folders for found in walk(root, folder, skip=_is_hidden)):
        path = PurePosixPath(source)
        if not reason and _is_hidden(source):
            continue
        if not reason and path.suffix == suffix and os.path.isfile(root / path):
            yield path
        else:
            others.append((source, reason or f"no {suffix} file"))


def _is_hidden(source: str) -> bool:
    return PurePosixPath(source).name.startswith(".")


def _read_mel(path: Path) -> np.ndarray:
    """Read an .npy as float32, without unpickling. Raises UserError if it is damaged or of another shape."""
    try:
        stored = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED:
        raise UserError(
            f"{path}: not a complete .npy of plain numbers (truncated, damaged or a pickle); recreate it"
        ) from None
    if stored.shape != MEL_2022 or stored.dtype.kind != "f":
        raise UserError(
            f"{path}: holds {stored.dtype} {stored.shape}, not the float {MEL_2022} of VFD 2022; recreate it"
        )
    with np.errstate(over="ignore"):  # what overflows is infinite and refused below
        mel = np.array(stored, np.float32, order="C")
    if not np.isfinite(mel).all():
        raise UserError(f"{path}: holds non-finite numbers; recreate it")
    return mel


def read_face(path: Path) -> np.ndarray:
    """Read an image as RGB (224, 224, 3) uint8. Raises UserError if it cannot be decoded or is too large."""
    data = path.read_bytes()
    height, width = _jpeg_size(data)
    if height * width > _MAX_PIXELS:
        raise UserError(f"{path}: states {width}x{height} pixels, more than {_MAX_PIXELS:,}; replace it by the face")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if height * width else None
    if image is None:
        raise UserError(f"{path}: cannot be decoded; replace the image or remove it")
    return resize(torch.from_numpy(image)[None], FACE_SIZE)[0].numpy()


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return height and width that a JPEG states, without decoding it; zeros if it is no JPEG."""
    place = 2
    while data[:2] == b"\xff\xd8" and place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAMES:
            return int.from_bytes(data[place + 5 : place + 7], "big"), int.from_bytes(
                data[place + 7 : place + 9], "big"
            )
        else:
            place += 2 + length
    return 0, 0
