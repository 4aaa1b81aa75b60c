"""Tiers and labels: the one place that says what is real and what is fake.

A tier names how the video and the audio of a clip were made. Label 1 = fake everywhere. The folder names are those
of FakeAVCeleb (Khalid et al., NeurIPS 2021), with two added for cloned voices:

    RVFA-VC   the voice is cloned from the best other recording of the same person (harder)
    RVFA-SVC  the clip's own audio is both source and reference of the clone (hardest)
"""

from dataclasses import dataclass

from avdfd.core.errors import UserError


@dataclass(frozen=True)
class Tier:
    """One way of making a clip. `video` and `audio` are labels (1 = fake, None = not known)."""

    name: str
    folder: str
    video: int | None
    audio: int | None

    @property
    def label(self) -> int:
        """Label of the clip as a whole: 1 if any part of it is fake."""
        return int(self.video != 0 or self.audio != 0)

    @property
    def fake_modalities(self) -> tuple[int, int]:
        """Labels of the audio and of the video (1 = fake), 1 where it is not known."""
        return int(self.audio != 0), int(self.video != 0)


RVRA = Tier("RVRA", "RealVideo-RealAudio", video=0, audio=0)
RVFA = Tier("RVFA", "RealVideo-FakeAudio", video=0, audio=1)
FVRA = Tier("FVRA", "FakeVideo-RealAudio", video=1, audio=0)
FVFA = Tier("FVFA", "FakeVideo-FakeAudio", video=1, audio=1)
RVFA_VC = Tier("RVFA-VC", "RealVideo-FakeAudio-VoiceClone", video=0, audio=1)
RVFA_SVC = Tier("RVFA-SVC", "RealVideo-FakeAudio-SelfVoiceClone", video=0, audio=1)

# A fake of which nothing else is known, as in a plain `fake/` folder; it takes part in no per-modality label.
FAKE = Tier("FAKE", "fake", video=None, audio=None)

TIERS: dict[str, Tier] = {t.name: t for t in (RVRA, RVFA, FVRA, FVFA, RVFA_VC, RVFA_SVC, FAKE)}

# Stage 1 orders the audio classes by how far a voice is from the real one (0 is real).
AUDIO_CLASS: dict[str, int] = {"RVRA": 0, "RVFA-SVC": 1, "RVFA-VC": 2, "RVFA": 3}
AUDIO_ORDER = tuple(sorted(AUDIO_CLASS, key=AUDIO_CLASS.__getitem__))
"""Tiers in the order of their intended distance from the prototype of real speech, the nearest first."""

OWN_METHOD = "own-"
"""Methods of `avdfd.corpora.vocoding` begin with it: fakes made of real clips for training, which nothing is tested
on."""


def tier(name: str) -> Tier:
    """The tier called `name`. Raises UserError with the known names if there is none."""
    if name not in TIERS:
        raise UserError(f"unknown tier '{name}': use one of {', '.join(TIERS)}")
    return TIERS[name]
