"""Clips of one identity: two recordings, and five fakes of each.

A recording has two videos, of the identity saying the text of its audio and saying another text. Both are made alike,
with the same head, motion, light, articulation and blending of the mouth, and which of two texts is the one of the
audio is drawn. So nothing in the video alone separates FVRA from real clips; only a comparison with the audio does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avdfd.core.tiers import FVFA, FVRA, RVFA, RVFA_SVC, RVFA_VC, RVRA, Tier
from avdfd.corpora.cloning.world import Analysis, analyse, clone, median_f0
from data.corpus.audio import Take, draw_room, finish, record
from data.corpus.camera import draw_camera
from data.corpus.cast import Identity, draw_clone, draw_texts, impersonate
from data.corpus.face import Head, draw_look, draw_motion
from data.corpus.lipsync import blend, draw_patch
from data.corpus.mouth import FPS, draw_habit, mouth_track
from data.corpus.mux import encode_video, write_clip
from data.corpus.speech import RATE, Speech, speak_within

CLIPS = 2  # recordings per identity
METHODS = {RVRA: "real", RVFA: "klatt", FVRA: "lipsync", FVFA: "lipsync", RVFA_VC: "world-vc", RVFA_SVC: "world-svc"}
CATEGORIES = {RVRA: "A", RVFA: "B", FVRA: "C", FVFA: "D", RVFA_VC: "B", RVFA_SVC: "B"}

_SAMPLES_PER_FRAME = RATE // FPS


@dataclass(frozen=True)
class Recording:
    """Shared content of a real clip and its fakes. Its three speeches have equal length: the identity's own, the Klatt
    synthesiser's with the same text, and the identity's with another text, which only the mouth says."""

    number: int
    own: Speech
    klatt: Speech
    other: Speech
    voice: np.ndarray  # (S,), after the microphone and the room
    analysis: Analysis
    take: Take


def clip_path(root: Path, identity: Identity, tier: Tier, number: int) -> Path:
    """Return the path of a clip, as in FakeAVCeleb."""
    suffix = "" if tier is RVRA else f"_{METHODS[tier]}"
    return root / tier.folder / identity.race / identity.gender / identity.name / f"{number:05d}{suffix}.mp4"


def identity_clips(root: Path, identity: Identity) -> Iterator[tuple[Tier, Path]]:
    """Yield the tier and path of every clip of an identity."""
    for tier in METHODS:
        for number in range(CLIPS):
            yield tier, clip_path(root, identity, tier, number)


def make_identity(root: Path, identity: Identity, partial: Path) -> int:
    """Make the missing clips of an identity; return their number."""
    missing = {path for _, path in identity_clips(root, identity) if not path.exists()}
    if not missing:
        return 0
    room = draw_room(np.random.default_rng((*identity.seed, 1)))
    # Both are recorded even if one is complete: speech depends on earlier speech (see corpus/speech.py).
    recordings = [_record(identity, number, room) for number in range(CLIPS)]
    for recording, another in zip(recordings, reversed(recordings), strict=True):
        wanted = [t for t in METHODS if clip_path(root, identity, t, recording.number) in missing]
        if not wanted:
            continue
        audio = _audio(identity, recording, another, room)
        videos = _videos(identity, recording)
        for tier in wanted:
            path = clip_path(root, identity, tier, recording.number)
            write_clip(path, videos[FVRA if tier.video else RVRA], audio[tier], partial)
    return len(missing)


def _fvfa_is_klatt(identity: Identity, recording: Recording) -> bool:
    """Return True if FVFA has the Klatt synthesiser's audio and not the clone's; they alternate."""
    return (identity.seed[1] + recording.number) % 2 == 0


def _record(identity: Identity, number: int, room: np.ndarray) -> Recording:
    rng = np.random.default_rng((*identity.seed, 2, number))
    text, other_text, samples = draw_texts(identity.voice, 4.6, 6.1, rng)
    own, other = (speak_within(said, identity.voice, samples) for said in (text, other_text))
    voice = record(own.samples, room, samples)
    klatt = impersonate(text, identity.voice, samples, median_f0(voice), rng)
    lead, trail = (int(rng.uniform(0.12, 0.4) * RATE) for _ in range(2))
    frames = max(5 * FPS + 1, -(-(lead + samples + trail) // _SAMPLES_PER_FRAME))
    bit_rate = int(np.exp(rng.uniform(np.log(160_000), np.log(480_000))))
    take = Take(frames, bit_rate, lead, samples, rng.uniform(22, 29), rng.uniform(35, 55))
    return Recording(number, own, klatt, other, voice, analyse(voice), take)


def _audio(identity: Identity, recording: Recording, another: Recording, room: np.ndarray) -> dict[Tier, np.ndarray]:
    """Return the audio (S,) of every tier. RVFA-VC takes the voice statistics of `another` recording of the identity,
    RVFA-SVC those of the recording itself."""
    rng = np.random.default_rng((*identity.seed, 3, recording.number))
    take = recording.take
    voices = {
        RVRA: recording.voice,
        RVFA: record(recording.klatt.samples, room, take.speech),
        RVFA_VC: clone(recording.analysis, another.analysis, draw_clone(True, rng), take.speech),
        RVFA_SVC: clone(recording.analysis, recording.analysis, draw_clone(False, rng), take.speech),
    }
    voices[FVRA] = voices[RVRA]
    voices[FVFA] = voices[RVFA if _fvfa_is_klatt(identity, recording) else RVFA_VC]
    return {t: finish(v, take, take.frames * _SAMPLES_PER_FRAME, rng) for t, v in voices.items()}


def _videos(identity: Identity, recording: Recording) -> dict[Tier, bytes]:
    """Return the encoded videos: the real one (RVRA), and the one whose mouth says another text (FVRA, FVFA)."""
    rng = np.random.default_rng((*identity.seed, 4, recording.number))
    take = recording.take
    head = Head(draw_look(identity.race, identity.gender, np.random.default_rng((*identity.seed, 5))), rng)
    habit, patch, camera = draw_habit(rng), draw_patch(take.frames, rng), draw_camera(take.frames, rng)
    said = {RVRA: recording.own, FVRA: recording.other}
    tracks = {t: mouth_track(speech, take.lead / RATE, take.frames, habit, rng) for t, speech in said.items()}
    frames: dict[Tier, list[np.ndarray]] = {t: [] for t in said}
    for i, pose in enumerate(draw_motion(take.frames, rng)):
        grain = camera.draw_grain(rng)
        for tier, track in tracks.items():
            frame = head.frame(pose, track[i]).astype(np.float32)
            blend(frame, head, pose, patch, i)
            frames[tier].append(camera.take(frame, i, grain))
    return {t: encode_video(f, take.bit_rate) for t, f in frames.items()}
