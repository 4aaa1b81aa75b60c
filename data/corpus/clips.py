"""The clips of one person: two recordings, and five fakes of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avdfd.core.tiers import FVFA, FVRA, RVFA, RVFA_SVC, RVFA_VC, RVRA, Tier
from avdfd.corpora.cloning.world import Analysis, analyse, clone, median_f0
from data.corpus.cast import Person, draw_clone, draw_speech, impersonate
from data.corpus.face import SIZE, Head, draw_look, draw_motion
from data.corpus.lipsync import blend, draw_patch
from data.corpus.mouth import FPS, mouth_track
from data.corpus.mux import encode_video, write_clip
from data.corpus.sound import Take, draw_room, finish, record
from data.corpus.speech import RATE, Speech, speak_within

CLIPS = 2  # recordings of a person
METHODS = {RVRA: "real", RVFA: "klatt", FVRA: "lipsync", FVFA: "lipsync", RVFA_VC: "world-vc", RVFA_SVC: "world-svc"}
CATEGORIES = {RVRA: "A", RVFA: "B", FVRA: "C", FVFA: "D", RVFA_VC: "B", RVFA_SVC: "B"}

_SAMPLES_PER_FRAME = RATE // FPS


@dataclass(frozen=True)
class Recording:
    """What a real clip and its fakes share: what is said, by whom, and how it was taken. All speeches are of one
    length: the person's own, the other synthesiser's of the same text, and the person's of another text."""

    number: int
    own: Speech
    klatt: Speech
    other: Speech
    voice: np.ndarray  # (S,), as the microphone hears it
    analysis: Analysis
    take: Take


def clip_path(root: Path, person: Person, tier: Tier, number: int) -> Path:
    """Where a clip lies, as in FakeAVCeleb."""
    suffix = "" if tier is RVRA else f"_{METHODS[tier]}"
    return root / tier.folder / person.race / person.gender / person.name / f"{number:05d}{suffix}.mp4"


def person_clips(root: Path, person: Person) -> Iterator[tuple[Tier, Path]]:
    """Every clip of a person."""
    for tier in METHODS:
        for number in range(CLIPS):
            yield tier, clip_path(root, person, tier, number)


def make_person(root: Path, person: Person, partial: Path) -> int:
    """Make what is missing of a person's clips and return how many that was."""
    missing = {path for _, path in person_clips(root, person) if not path.exists()}
    if not missing:
        return 0
    room = draw_room(np.random.default_rng((*person.seed, 1)))
    # Both are recorded whatever is missing: speech depends on what was said before it (see corpus/speech.py).
    recordings = [_record(person, number, room) for number in range(CLIPS)]
    for recording, another in zip(recordings, reversed(recordings), strict=True):
        wanted = [t for t in METHODS if clip_path(root, person, t, recording.number) in missing]
        if not wanted:
            continue
        sounds = _sounds(person, recording, another, room)
        videos = _videos(person, recording)
        for tier in wanted:
            path = clip_path(root, person, tier, recording.number)
            write_clip(path, videos[tier if tier.video else RVRA], sounds[tier], partial)
    return len(missing)


def _fvfa_is_klatt(person: Person, recording: Recording) -> bool:
    """Whether the fake sound of FVFA is the other synthesiser's or the clone's: every other time."""
    return (person.seed[1] + recording.number) % 2 == 0


def _record(person: Person, number: int, room: np.ndarray) -> Recording:
    rng = np.random.default_rng((*person.seed, 2, number))
    text, own = draw_speech(person.voice, 4.6, 6.1, rng)
    samples = len(own.samples)
    other_text, _ = draw_speech(person.voice, 0.9 * own.seconds, 1.1 * own.seconds, rng)
    other = speak_within(other_text, person.voice, samples)
    voice = record(own.samples, room, samples)
    klatt = impersonate(text, person.voice, samples, median_f0(voice), rng)
    lead, trail = (int(rng.uniform(0.12, 0.4) * RATE) for _ in range(2))
    frames = max(5 * FPS + 1, -(-(lead + samples + trail) // _SAMPLES_PER_FRAME))
    bit_rate = int(np.exp(rng.uniform(np.log(160_000), np.log(480_000))))
    take = Take(frames, bit_rate, lead, samples, rng.uniform(22, 29), rng.uniform(35, 55))
    return Recording(number, own, klatt, other, voice, analyse(voice), take)


def _sounds(person: Person, recording: Recording, another: Recording, room: np.ndarray) -> dict[Tier, np.ndarray]:
    """The sound (S,) of every tier. The clones are told apart by whose statistics they take: `another` recording of the
    person for RVFA-VC, the recording itself for RVFA-SVC."""
    rng = np.random.default_rng((*person.seed, 3, recording.number))
    take = recording.take
    voices = {
        RVRA: recording.voice,
        RVFA: record(recording.klatt.samples, room, take.speech),
        RVFA_VC: clone(recording.analysis, another.analysis, draw_clone(True, rng), take.speech),
        RVFA_SVC: clone(recording.analysis, recording.analysis, draw_clone(False, rng), take.speech),
    }
    voices[FVRA] = voices[RVRA]
    voices[FVFA] = voices[RVFA if _fvfa_is_klatt(person, recording) else RVFA_VC]
    return {t: finish(v, take, take.frames * _SAMPLES_PER_FRAME, rng) for t, v in voices.items()}


def _videos(person: Person, recording: Recording) -> dict[Tier, bytes]:
    """The encoded videos: the real one (RVRA), one whose mouth says something else (FVRA), and one whose mouth was made
    again for the fake sound (FVFA)."""
    rng = np.random.default_rng((*person.seed, 4, recording.number))
    take = recording.take
    look = draw_look(person.race, person.gender, np.random.default_rng((*person.seed, 5)))
    head = Head(look, rng)
    fake_speech = recording.klatt if _fvfa_is_klatt(person, recording) else recording.own
    said = {RVRA: recording.own, FVRA: recording.other, FVFA: fake_speech}
    tracks = {t: mouth_track(speech, take.lead / RATE, take.frames) for t, speech in said.items()}
    patches = {t: draw_patch(rng) for t in (FVRA, FVFA)}
    frames: dict[Tier, list[np.ndarray]] = {t: [] for t in said}
    for i, pose in enumerate(draw_motion(take.frames, rng)):
        grain = look.grain * rng.standard_normal((SIZE, SIZE, 1), np.float32)
        real = head.frame(pose, tracks[RVRA][i]) + grain
        frames[RVRA].append(_to_bytes(real))
        for tier, patch in patches.items():
            drawn = head.frame(pose, tracks[tier][i]).astype(np.float32)
            gain = 1 + patch.flicker * rng.standard_normal()
            frames[tier].append(_to_bytes(blend(real, drawn, head, pose, patch, gain)))
    return {t: encode_video(f, take.bit_rate) for t, f in frames.items()}


def _to_bytes(frame: np.ndarray) -> np.ndarray:
    return np.clip(frame + 0.5, 0, 255).astype(np.uint8)
