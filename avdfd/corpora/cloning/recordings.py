"""Recordings of each identity, records of their voices, and the choice of reference recordings.

A voice is a record: source, stamp (size and modification time), and either a `reason` why it cannot be used, or
sha256, sound_hash (hexadecimal) and embedding (base64 of float32).
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from avdfd.core.clips import IDENTITY, Clip, media_files
from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import sha256_of, stamp
from avdfd.core.journal import Record
from avdfd.core.tiers import RVRA
from avdfd.corpora.cloning.speaker import Embed
from avdfd.corpora.duplicates import SOUND_BITS, distance
from avdfd.corpora.layouts import read_root
from avdfd.corpora.left_out import LeftOut, left_out
from avdfd.media.audio import read_waveform
from avdfd.media.fingerprints import audio_hash

ELSEWHERE = "recordings/"
"""Prefix of the source of a recording in the other root."""


class Recording(NamedTuple):
    """A file with one voice. `source` names it in either root."""

    source: str
    path: Path


def real_clips(root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Return the RVRA clips of a root in FakeAVCeleb's layout, and everything else in it.

    Raises UserError for another layout, or if two clips of an identity have the same number.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `input` is the root of the videos")
    if not (root / RVRA.folder).is_dir():
        raise UserError(f"{root}: has no {RVRA.folder}; expected <tier folder>/<race>/<gender>/<identity>/<clip>")
    entries, others = read_root(root, "fakeavceleb")
    clips = [e.clip for e in entries if not e.problem and e.clip.tier == RVRA.name]
    if not clips:
        raise UserError(f"{root / RVRA.folder}: no video files in it")
    numbers: dict[tuple[str, str], str] = {}
    for clip in clips:
        path = PurePosixPath(clip.source)
        if len(path.parts) != 5:
            raise UserError(f"{root / clip.source}: expected {RVRA.folder}/<race>/<gender>/<identity>/<clip>")
        digits = path.stem[: len(path.stem) - len(path.stem.lstrip("0123456789"))]
        if not digits:
            raise UserError(
                f"{root / clip.source}: expected a name that begins with the clip's number, such as 00012.mp4"
            )
        other = numbers.setdefault((path.parts[3], digits), clip.source)
        if other != clip.source:  # the number identifies the original of a clone
            raise UserError(f"{root}: {other} and {clip.source} have the same identity and number; rename one of them")
    return clips, left_out(entries, others, [RVRA.name])


def recordings_of(clips: Iterable[Clip], root: Path | None) -> dict[str, list[Recording]]:
    """Return the recordings of every identity in the clips, in order: the clips, and those in another root.

    Raises UserError if that root has no recording of these identities.
    """
    by_identity: dict[str, list[Recording]] = {}
    for clip in clips:
        by_identity.setdefault(clip.identities[0], []).append(Recording(clip.source, clip.path))
    if root is not None:
        found = list(_elsewhere(root, by_identity.keys()))
        if not found:
            raise UserError(f"{root}: no recordings of these identities; expected .../<identity>/.../<file>")
        for identity, recording in found:
            by_identity[identity].append(recording)
    return {identity: sorted(recordings) for identity, recordings in sorted(by_identity.items())}


def _elsewhere(root: Path, wanted: Iterable[str]) -> Iterable[tuple[str, Recording]]:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `recordings` is a root with more recordings of the identities")
    names = set(wanted)

    def of_others(folder: str) -> bool:
        *above, name = PurePosixPath(folder).parts
        return IDENTITY.fullmatch(name) is not None and name not in names and names.isdisjoint(above)

    for source in media_files(root, skip=of_others):
        inside = [part for part in PurePosixPath(source).parent.parts if part in names]
        if inside:
            yield inside[-1], Recording(ELSEWHERE + source, root / source)


def digest(recordings: Sequence[Recording]) -> str:
    """Return a digest of an identity's recordings and their stamps: the choice of references depends on all of them."""
    facts = [[recording.source, *stamp(recording.path)] for recording in recordings]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def voice_record(recording: Recording, embed: Embed) -> Record:
    """Return the record of a voice. Raises MediaError for a file that cannot be used."""
    samples = read_waveform(recording.path)
    fingerprint = audio_hash(samples)
    if fingerprint is None:
        raise MediaError("silent audio, or too little of it")
    embedding = np.ascontiguousarray(embed(samples), np.float32)
    return {
        "source": recording.source,
        "stamp": stamp(recording.path),
        "sha256": sha256_of(recording.path),
        "sound_hash": fingerprint.hex(),
        "embedding": base64.b64encode(embedding.tobytes()).decode(),
    }


def vector(voice: Mapping[str, str]) -> np.ndarray:
    """Return the embedding (D,) of a voice."""
    return np.frombuffer(base64.b64decode(voice["embedding"]), np.float32)


def mean_vector(voices: Sequence[Record]) -> np.ndarray:
    """Return the mean embedding (D,) of an identity's voices, of unit length."""
    mean = np.mean([vector(voice) for voice in voices], axis=0)
    return mean / np.linalg.norm(mean)


def references(voice: Record, voices: Iterable[Record], count: int) -> list[Record]:
    """Return the most similar other voices of the same identity, best first, without near-duplicates of `voice`."""
    own = vector(voice)
    others = [other for other in voices if not _near_duplicates(voice, other)]
    return sorted(others, key=lambda other: (-float(vector(other) @ own), other["source"]))[:count]


def _near_duplicates(one: Record, other: Record) -> bool:
    if one["source"] == other["source"] or one["sha256"] == other["sha256"]:
        return True
    return distance(bytes.fromhex(one["sound_hash"]), bytes.fromhex(other["sound_hash"])) <= SOUND_BITS
