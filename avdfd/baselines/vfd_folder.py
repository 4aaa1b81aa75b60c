"""Folders in the format of VFD 2022: an image of a face and the mel of a voice for every clip.

VoxCeleb2, real clips:      face/<identity>/<video>/<clip>.jpg   voice/<identity>_<video>_<clip>.npy
DFDC, with fakes:           real/<clip>.jpg   fake/<clip>.jpg    audio_feat/<clip>.npy

An .npy holds the dB mel (512, 301) float32 of the clip's first 3 s (`avdfd.baselines.vfd_inputs.mel_db_2022`).

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195, 2022.
"""

import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from avdfd.baselines.vfd_inputs import MEL_2022
from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, RVRA, Tier
from avdfd.corpora.scan import UNKNOWN
from avdfd.datasets.transforms import resize
from avdfd.elements import Element, ElementMeta
from avdfd.features.window import FACE_SIZE

_SECONDS = 3.0


def is_vfd_folder(path: str | Path) -> bool:
    """Return True if the folder has the sub-folders of one of the two layouts."""
    return _is_voxceleb(Path(path)) or _is_dfdc(Path(path))


class VfdFolder:
    """Clips of a VFD folder with the interface of an `ElementStore`; the key is the path of the image.

    The videos themselves are unavailable, so `start` and `end` are those of the mel's 3 s, the time of the image is
    unknown, and the sha256 is replaced by "path:" and the path: copies of a file under another name are not detected.
    Raises UserError for another layout, a folder without images, and images without a voice.
    """

    version = "vfd-folder"
    has_waveforms = False
    has_frames = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if _is_voxceleb(self.root):
            clips = list(self._voxceleb())
        elif _is_dfdc(self.root):
            clips = list(self._dfdc())
        else:
            state = "is not a VFD folder" if self.root.is_dir() else "no such folder"
            raise UserError(f"{root}: {state}; one has face/ and voice/, or audio_feat/ beside real/ or fake/")
        if not clips:
            raise UserError(f"{root}: no images; expected face/<identity>/<video>/<clip>.jpg, or real|fake/<clip>.jpg")
        clips.sort(key=lambda clip: clip[0].key)
        self.metas = [meta for meta, _ in clips]
        self.index = {meta.key: position for position, meta in enumerate(self.metas)}
        self._voices = [voice for _, voice in clips]
        self._check_voices()

    def __len__(self) -> int:
        return len(self.metas)

    def read(
        self,
        key: str,
        *,
        waveform: bool = False,
        mel: bool = True,
        mel_err: bool = False,
        frames: Sequence[int] | None = None,
    ) -> Element:
        """Read an element: the dB mel (512, 301) for any audio, and the single image (1, 224, 224, 3) for any frames.

        Raises KeyError for an unknown key and UserError for damaged files.
        """
        position = self.index[key]
        return Element(
            meta=self.metas[position],
            mel=_read_mel(self.root / self._voices[position]) if mel or waveform else None,
            frames=_read_image(self.root / key)[None] if frames is not None else None,
        )

    def _voxceleb(self) -> Iterator[tuple[ElementMeta, str]]:
        for path in self.root.glob("face/[!.]*/[!.]*/[!.]*.jpg"):
            _, identity, video, _ = path.relative_to(self.root).parts
            base = f"face/{identity}/{video}"  # groups the clips of a video
            yield self._meta(path, RVRA, identity, base), f"voice/{identity}_{video}_{path.stem}.npy"

    def _dfdc(self) -> Iterator[tuple[ElementMeta, str]]:
        for folder, tier in (("real", RVRA), (FAKE.folder, FAKE)):
            for path in self.root.glob(f"{folder}/[!.]*.jpg"):
                yield self._meta(path, tier, path.stem, f"{folder}/{path.name}"), f"audio_feat/{path.stem}.npy"

    def _meta(self, path: Path, tier: Tier, identity: str, base: str) -> ElementMeta:
        source = path.relative_to(self.root).as_posix()
        return ElementMeta(
            key=source,
            tier=tier.name,
            identities=(identity,),
            source=source,
            base=base,
            method="real" if tier is RVRA else UNKNOWN,
            start=0.0,
            end=_SECONDS,
            sha256=f"path:{source}",
            version=self.version,
        )

    def _check_voices(self) -> None:
        present = {
            f"{folder}/{path.name}" for folder in ("voice", "audio_feat") for path in self.root.glob(f"{folder}/*")
        }
        missing = [voice for voice in self._voices if voice not in present]
        if missing:
            raise UserError(
                f"{self.root}: {len(missing)} of {len(self)} faces have no voice, e.g. {missing[0]} is missing; add it "
                "or remove the face"
            )


def _is_voxceleb(root: Path) -> bool:
    return (root / "face").is_dir() and (root / "voice").is_dir()


def _is_dfdc(root: Path) -> bool:
    return (root / "audio_feat").is_dir() and ((root / "real").is_dir() or (root / FAKE.folder).is_dir())


def _read_mel(path: Path) -> np.ndarray:
    """Read an .npy as float32, without unpickling. Raises UserError if it is damaged or of another shape."""
    try:
        stored = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, tokenize.TokenError):  # TokenError: some damaged headers
        raise UserError(
            f"{path}: not a complete .npy of plain numbers (truncated, damaged or a pickle); recreate it"
        ) from None
    if stored.shape != MEL_2022 or stored.dtype.kind != "f":
        raise UserError(
            f"{path}: holds {stored.dtype} {stored.shape}, not the float {MEL_2022} of VFD 2022; recreate it"
        )
    mel = np.array(stored, np.float32, order="C")
    if not np.isfinite(mel).all():
        raise UserError(f"{path}: holds non-finite numbers; recreate it")
    return mel


def _read_image(path: Path) -> np.ndarray:
    """Read an image as RGB (224, 224, 3) uint8. Raises UserError if it cannot be decoded."""
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise UserError(f"{path}: cannot be decoded; replace the image or remove it")
    return resize(torch.from_numpy(image)[None], FACE_SIZE)[0].numpy()
