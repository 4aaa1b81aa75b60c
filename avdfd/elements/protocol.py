"""Interface of all sources of elements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from avdfd.elements.form import Element, ElementMeta


class Store(Protocol):
    """Source of elements: `ElementStore`, one that changes what it reads (`avdfd.evaluation`), or VFD's data.

    VFD's are `avdfd.baselines.vfd_folder` and `avdfd.baselines.vfd_list`.
    """

    root: Path
    version: str
    """Hash of the preprocessing settings, or the name of a format of VFD's data."""
    whole: bool
    """True if the elements are whole clips of unequal length, False if they are windows."""

    @property
    def metas(self) -> Sequence[ElementMeta]: ...
    @property
    def has_waveforms(self) -> bool: ...
    @property
    def has_frames(self) -> bool: ...
    @property
    def has_landmarks(self) -> bool: ...

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
        """Return the requested arrays of an element; `frames` are frame numbers; those beyond the last are left out.

        Raises KeyError for an unknown key, and UserError for an array that the source does not have.
        """
