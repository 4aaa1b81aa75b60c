"""One counterfactual, the names and sizes of all of them, and the reasons why some cannot be asked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avdfd.elements import ElementMeta
from avdfd.evaluation.counterfactuals.store import Change

SHIFTS = (40, 80, 120, 200, 400, 700, 1000)
"""Milliseconds by which audio is moved, in both directions."""
SWAPS = 5
"""Number of draws of a stranger's audio."""
REPLACED = ("cut", "fixed_audio", "fixed_video", "shuffled", "still", "reversed")
"""Counterfactuals in which clips are judged real and fake. `cut`, of whole clips, is what the fixed ones replace."""
SHOWN = ("fixed_video", "shuffled", "still")
"""Those that change the video alone."""
TOO_BRIEF = ("shuffled", "still")
"""Those that a single image of a clip does not have."""

NO_STRANGER = "needs real clips of two identities of the same page and gender"
ALL_SHORT = "needs a real clip of a window or more"
NOT_JOINED = "needs overlapping or adjoining windows: preprocess with media.hop=1.536"
NO_WAVEFORMS = "needs waveforms in the elements"
NO_VIDEO = "not applicable, as no video is taken"
NOT_OF_IMAGES = "not applicable to one image and one stretch of voice for each clip"


class Case(NamedTuple):
    """One counterfactual of some elements."""

    kind: str
    """Name of the counterfactual: stranger, shift, or one of REPLACED."""
    number: int
    """Number of the draw; of a shift its milliseconds, above 0 if the audio is late."""
    metas: Sequence[ElementMeta]
    changes: Mapping[str, Change]
    """Key of each element -> its change."""
    own: bool = False
    """True for the other side of the case of this kind and number: the same stretch of each clip with its own streams.
    A case without one is compared with the elements as they are."""
