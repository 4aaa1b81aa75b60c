"""Base of stores that change the elements of another store when they are read."""

from typing import Generic, TypeVar

from avdfd.elements.protocol import Store

S = TypeVar("S", bound=Store)


class DerivedStore(Generic[S]):
    """A store with everything but `read`, which is the subclass's: root, elements and kinds of arrays stay the same."""

    def __init__(self, store: S) -> None:
        self.store = store
        self.root, self.metas, self.version, self.whole = store.root, store.metas, store.version, store.whole
        self.has_waveforms, self.has_frames = store.has_waveforms, store.has_frames
        self.has_landmarks = store.has_landmarks
