"""Elements wherever they are: a store of this repository, or the folder format of VFD's data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.core.errors import UserError
from avdfd.elements import Element, ElementMeta, ElementStore


class Store(Protocol):
    """What has elements: `ElementStore`, as it is or perturbed (`avdfd.evaluation.robustness.store`), and
    `VfdFolder`."""

    root: Path

    @property
    def metas(self) -> Sequence[ElementMeta]: ...
    @property
    def has_waveforms(self) -> bool: ...
    @property
    def has_frames(self) -> bool: ...

    def read(
        self,
        key: str,
        *,
        waveform: bool = False,
        mel: bool = True,
        mel_err: bool = False,
        frames: Sequence[int] | None = None,
    ) -> Element:
        """The parts of an element that are asked for. Raises KeyError, and UserError for what is not there."""


def open_store(path: str, *kinds: str) -> ElementStore | VfdFolder:
    """The elements of a folder, for systems of these kinds.

    Raises UserError if there are none, or if one of the systems needs what a VFD folder does not have.
    """
    if not is_vfd_folder(path):
        return ElementStore(path)
    other = next((kind for kind in kinds if kind != "vfd"), None)
    if other:
        raise UserError(
            f"{path}: a VFD folder has one picture and a voice feature per clip, but {other} needs sound and video; "
            "give it elements of data/preprocess.py"
        )
    return VfdFolder(path)
