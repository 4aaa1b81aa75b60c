"""Tiers and their labels: the only definition of real and fake.

A tier states how the video and the audio of a clip were made. Label 1 = fake everywhere. The folder names are those
of FakeAVCeleb (Khalid et al., NeurIPS 2021); two tiers are added for cloned voices:

    RVFA-VC   voice cloned from the best other recording of the same identity (harder)
    RVFA-SVC  voice cloned with the clip's own audio as both source and reference (hardest)

and one for real speech that was vocoded or coded: RVRA-V, of the same speaker and words. It is real, never trained or
selected on, and reported by its false alarms alone.
"""

from dataclasses import dataclass

from avdfd.core.errors import UserError


@dataclass(frozen=True)
class Tier:
    """A kind of clip. `video` and `audio` are the labels of its streams (1 = fake, None = unknown)."""

    name: str
    folder: str
    video: int | None
    audio: int | None

    @property
    def label(self) -> int:
        """Label of the whole clip: 1 if its video or its audio is fake, or may be."""
        return int(self.video != 0 or self.audio != 0)

    @property
    def fake_modalities(self) -> tuple[int, int]:
        """Labels of audio and video (1 = fake); an unknown label of a fake clip counts as fake."""
        return int(self.audio != 0), int(self.video != 0)


RVRA = Tier("RVRA", "RealVideo-RealAudio", video=0, audio=0)
RVFA = Tier("RVFA", "RealVideo-FakeAudio", video=0, audio=1)
FVRA = Tier("FVRA", "FakeVideo-RealAudio", video=1, audio=0)
FVFA = Tier("FVFA", "FakeVideo-FakeAudio", video=1, audio=1)
RVFA_VC = Tier("RVFA-VC", "RealVideo-FakeAudio-VoiceClone", video=0, audio=1)
RVFA_SVC = Tier("RVFA-SVC", "RealVideo-FakeAudio-SelfVoiceClone", video=0, audio=1)

RVRA_V = Tier("RVRA-V", "RealVideo-RealAudio-Vocoded", video=0, audio=0)

# A fake clip of unknown kind, as in a plain `fake/` folder; it has no label for a single modality.
FAKE = Tier("FAKE", "fake", video=None, audio=None)

TIERS: dict[str, Tier] = {t.name: t for t in (RVRA, RVFA, FVRA, FVFA, RVFA_VC, RVFA_SVC, FAKE, RVRA_V)}

FAKES = tuple(name for name, one in TIERS.items() if one.label)
"""Names of the tiers of fakes."""

# Stage 1 orders the audio classes by the distance of the voice from the real one (0 = real).
AUDIO_CLASS: dict[str, int] = {"RVRA": 0, "RVFA-SVC": 1, "RVFA-VC": 2, "RVFA": 3}
AUDIO_ORDER = tuple(sorted(AUDIO_CLASS, key=AUDIO_CLASS.__getitem__))
"""Tiers in the order of their intended distance from the prototype of real speech, the nearest first."""

OWN_METHOD = "own-"
"""Prefix of the methods of `avdfd.corpora.vocoding`, which re-synthesise real clips for training, never for testing."""
VOCODED_METHOD = "vocoded-"
"""Prefix of the methods of RVRA-V: the same, and others, on clips that stay real, for testing alone."""


def tier(name: str) -> Tier:
    """Return the tier called `name`. Raises UserError, which lists the known names, if there is none."""
    if name not in TIERS:
        raise UserError(f"unknown tier '{name}': use one of {', '.join(TIERS)}")
    return TIERS[name]
