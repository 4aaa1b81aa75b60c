"""Lists in the format of VFD 2023 (MVF): a line "IMAGE LABEL" for every image of a face, whose voice is a WAV file.

    .../face/<folders>/<video>_<frame>.jpg 1     and     .../voice/<folders>/<video>_<frame>.wav

Paths are absolute or relative to the working folder, as in the released code. Label 0 is real. Others are fake; the
tier is that of a folder with its name in FakeAVCeleb, or else FAKE. The identities are those below face/ as `id00012`,
or else the image's folder. Images of a video have the same source clip.

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", ACM TOMM 20 (3), 2023.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from avdfd.baselines.vfd_folder import read_face, refuse_losses
from avdfd.core.clips import UNKNOWN, named_identities
from avdfd.core.errors import MediaError, UserError
from avdfd.core.text import read_text
from avdfd.core.tiers import FAKE, RVRA, TIERS, Tier
from avdfd.elements import Element, ElementMeta
from avdfd.elements.form import mel_of
from avdfd.features.window import SAMPLE_RATE, WINDOW
from avdfd.media.audio import read_waveform

_TIER_OF = {tier.folder: tier for tier in TIERS.values() if tier is not FAKE}


def is_vfd_list(path: str | Path) -> bool:
    """Return True for a text file."""
    return Path(path).suffix == ".txt" and Path(path).is_file()


class VfdList:
    """Images of a list with the interface of an `ElementStore`; the key is the path of the image.

    `start` and `end` are those of the audio that is read; the time of the image is unknown. Raises UserError for a list
    that cannot be read, for a line that is not an image and a label, and for a list without usable images.
    """

    version = "vfd-list"
    has_waveforms = True
    has_frames = True
    has_landmarks = False
    whole = False

    def __init__(self, path: str | Path) -> None:
        self.root = Path(path)
        self.left_out: list[tuple[str, str]] = []
        """Path and reason of every image that is no clip."""
        found: dict[str, ElementMeta] = {}
        for source, label, place in _lines(self.root):
            meta = self._meta(source, label, place)
            problem = "listed twice" if source in found else _problem(source)
            if problem:
                self.left_out.append((source, problem))
            else:
                found[source] = meta
        if not found:
            why = f", e.g. {self.left_out[0][0]}: {self.left_out[0][1]}" if self.left_out else ""
            raise UserError(
                f"{path}: none of its {len(self.left_out)} images can be used{why}; paths are relative to {Path.cwd()}"
            )
        self.metas = [found[source] for source in sorted(found)]
        self.index = {meta.key: position for position, meta in enumerate(self.metas)}

    def __len__(self) -> int:
        return len(self.metas)

    def check_complete(self) -> None:
        """Raise UserError if an image is no clip."""
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
        """Read an element: the first 3.072 s of its voice, its mel, and the single image for any frames.

        Raises KeyError for an unknown key and UserError for damaged files.
        """
        samples = _read_voice(_voice_of(key)) if waveform or mel else None
        return Element(
            meta=self.metas[self.index[key]],
            waveform=samples if waveform else None,
            mel=mel_of(samples) if mel and samples is not None else None,
            frames=read_face(Path(key))[None] if frames is not None else None,
        )

    def _meta(self, source: str, label: int, place: str) -> ElementMeta:
        path = PurePosixPath(source)
        below = _below_face(path)
        tier = _tier(label, below, place)
        video = str(path.with_name(re.sub(r"_\d+$", "", path.stem)))
        own = path.parent.name if len(below) > 1 else PurePosixPath(video).name
        return ElementMeta(
            key=source,
            source=source,
            tier=tier.name,
            identities=named_identities("/".join(below), otherwise=own),
            base=video,
            method="real" if tier is RVRA else UNKNOWN,
            start=0.0,
            end=WINDOW / SAMPLE_RATE,
            sha256=f"path:{source}",
            version=self.version,
        )


def _lines(path: Path) -> list[tuple[str, int, str]]:
    """Return image, label and place of every line. Raises UserError."""
    lines = []
    for number, line in enumerate(read_text(path, "a list of images").splitlines(), start=1):
        if not line.strip():
            continue
        source, _, label = line.strip().rpartition(" ")
        if not source or not re.fullmatch(r"\d{1,6}", label, flags=re.ASCII):
            raise UserError(f"{path}: line {number}: expected the path of an image, a space and a label")
        lines.append((str(PurePosixPath(source.strip())), int(label), f"{path}: line {number}"))
    return lines


def _tier(label: int, folders: Sequence[str], place: str) -> Tier:
    """Return the tier of an image. Raises UserError for a label that does not fit its folders."""
    named = next((_TIER_OF[name] for name in folders if name in _TIER_OF), None)
    tier = named or (RVRA if label == 0 else FAKE)
    if tier.label != (label > 0) or (named is None and label > 1):
        raise UserError(
            f"{place}: label {label}, but {'its folder is ' + named.folder if named else 'no folder names its tier'}; "
            "0 is real, and without a folder such as FakeVideo-RealAudio 1 is fake (identities are no labels here)"
        )
    return tier


def _below_face(path: PurePosixPath) -> tuple[str, ...]:
    """Return the parts of a path below its last folder face/; none if it has no such folder."""
    parts = path.parts
    return parts[len(parts) - parts[::-1].index("face") :] if "face" in parts[:-1] else ()


def _voice_of(source: str) -> Path:
    path = PurePosixPath(source)
    below = _below_face(path)
    return Path(*path.parts[: -len(below) - 1], "voice", *below).with_suffix(".wav")


def _problem(source: str) -> str:
    """Return the reason why an image cannot be used; empty if it can."""
    if not _below_face(PurePosixPath(source)):
        return "not in a folder face/"
    if not Path(source).is_file():
        return "no such image"
    return "" if _voice_of(source).is_file() else f"a face without a voice: {_voice_of(source)} is missing"


def _read_voice(path: Path) -> np.ndarray:
    """Read the first 3.072 s of a voice at 16 kHz: (49152,) float32. Shorter audio is repeated, as released.

    Raises UserError if it cannot be decoded or is shorter than a second.
    """
    try:
        samples = read_waveform(path)
    except MediaError as error:
        raise UserError(f"{path}: {error}; replace it, or remove its line from the list") from None
    if len(samples) < SAMPLE_RATE:
        raise UserError(f"{path}: shorter than a second; remove its line from the list")
    return np.resize(samples, WINDOW)
