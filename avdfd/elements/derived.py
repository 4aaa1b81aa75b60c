"""Base of stores that change the elements of another store when they are read."""

from typing import Generic, TypeVar

from avdfd.elements.protocol import Store

S = TypeVar("S", bound=Store)


class DerivedStore(Generic[S]):
    """What a store states of its elements, which stays as it is when they are changed; `read` is the subclass's."""

    def __init__(self, store: S) -> None:
        self.store = store
        self.root, self.metas, self.version, self.whole = store.root, store.metas, store.version, store.whole
        self.has_waveforms, self.has_frames = store.has_waveforms, store.has_frames
        self.has_landmarks = store.has_landmarks
