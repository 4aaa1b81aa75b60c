"""`data/preprocessing/clone_voices.py`: real clips -> clips with cloned voices."""

from typing import Literal

from avdfd.config.base import Section


class Ge2eConfig(Section):
    """The speaker encoder whose weights `setup.sh` installs."""

    kind: Literal["ge2e"] = "ge2e"


class EcapaConfig(Section):
    """ECAPA-TDNN by SpeechBrain, which is not among the requirements."""

    kind: Literal["ecapa"] = "ecapa"
    folder: str
    """Folder of `speechbrain/spkrec-ecapa-voxceleb` as it lies on the hub: hyperparams.yaml and the .ckpt files."""
