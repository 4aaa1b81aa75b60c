"""The interface that every source of elements has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from avdfd.elements.form import Element, ElementMeta


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
