from pathlib import Path

import numpy as np
import pytest

from avdfd.corpora.duplicates import SOUND_BITS, _near, distance, find_duplicates
from avdfd.corpora.inventory import FileFacts, examine
from avdfd.media.fingerprints import audio_hash
from tests.helpers.recordings import record


def speech(seed: int, seconds: float = 4.0, rate: int = 16_000) -> np.ndarray:
    """Noise whose loudness and spectrum change from syllable to syllable."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    samples = np.zeros(len(time))
    for start in np.arange(0.2, seconds - 0.4, 0.25):
        envelope = np.exp(-(((time - start - 0.1) / 0.08) ** 2)) * rng.uniform(0.05, 0.3)
        for _ in range(4):
            samples += envelope * np.sin(2 * np.pi * rng.uniform(200, 3000) * time + rng.uniform(0, 6))
    return samples


def images_of(seed: int, count: int, size: int) -> list[np.ndarray]:
    """A face that nods and speaks in front of a background that is the same for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    phases, speeds = rng.uniform(0, 6, 4), rng.uniform(1, 6, 4)
    frames = []
    for number in range(count):
        t = number / count * 4
        nod, turn, mouth, _ = np.sin(phases + speeds * t)
        face = ((x - 0.5 - 0.05 * turn) / 0.25) ** 2 + ((y - 0.5 - 0.05 * nod) / 0.35) ** 2 < 1
        lips = ((x - 0.5 - 0.05 * turn) / 0.1) ** 2 + ((y - 0.68 - 0.05 * nod) / (0.03 + 0.03 * mouth)) ** 2 < 1
        grey = 60 + 60 * x + 80 * face - 90 * (face & lips)
        frames.append(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return frames


def clip(
    path: Path, face: int, voice: int, *, size: int = 160, fps: int = 25, crf: int = 20, rate: int = 16_000
) -> Path:
    count = 4 * fps
    return record(
        path,
        [n / fps for n in range(count)],
        speech(voice, rate=rate),
        rate=rate,
        size=(size, size),
        images=images_of(face, count, size),
        options={"crf": str(crf)},
    )


def row(path: Path) -> FileFacts:
    facts = examine(path)
    assert not facts.error
    return facts


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """An original, its near-duplicates, and clips that share something or nothing with it."""
    folder = tmp_path_factory.mktemp("clips")
    clip(folder / "0_original.mp4", 1, 1)
    (folder / "1_bytes.mp4").write_bytes((folder / "0_original.mp4").read_bytes())
    clip(folder / "2_reencoded.mp4", 1, 1, size=96, crf=34, fps=30, rate=44_100)
    clip(folder / "3_dubbed.mp4", 1, 2)
    clip(folder / "4_face_only.mp4", 2, 1)
    clip(folder / "5_other.mp4", 3, 3)
    clip(folder / "6_other.mkv", 4, 4)
    return [row(path) for path in sorted(folder.iterdir())]


def test_groups_name_their_match(rows):
    groups = {(group.match, group.members) for group in find_duplicates(rows)}
    assert groups == {
        ("bytes", (0, 1)),
        ("picture+sound", (0, 1, 2)),
        ("picture", (0, 1, 2, 3)),
        ("sound", (0, 1, 2, 4)),
    }


def test_near_duplicates_are_well_separated_from_other_files(rows):
    original, _, copy, dubbed, face_only, other, _ = rows
    assert distance(original.picture_hash, copy.picture_hash) < 30
    assert distance(original.sound_hash, copy.sound_hash) < 30
    assert distance(original.sound_hash, dubbed.sound_hash) > 120
    assert distance(original.picture_hash, face_only.picture_hash) > 60
    assert distance(original.picture_hash, other.picture_hash) > 60


def test_audio_is_matched_at_any_loudness_and_edges():
    samples = speech(5).astype(np.float32)
    padded = np.concatenate([np.zeros(8000, np.float32), 0.1 * samples, np.zeros(16_000, np.float32)])
    assert distance(audio_hash(samples), audio_hash(padded)) <= SOUND_BITS
    assert audio_hash(np.zeros(32_000, np.float32)) is None
    assert audio_hash(samples[:4000]) is None


def test_rows_without_hashes_have_no_group(rows):
    empty = rows[0]._replace(sha256=None, sound_hash=None, picture_hash=None)
    assert find_duplicates([empty, empty]) == []
    assert find_duplicates([]) == []


def test_near_hashes_are_found_among_many():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (20_000, 32), dtype=np.uint8)
    table[:200] = table[200:400] ^ np.packbits(rng.random((200, 256)) < 0.05, axis=1)
    labels = _near([None, *(bytes(line) for line in table)], 40)
    assert labels[0] == -1
    assert (labels[1:201] == labels[201:401]).mean() > 0.99
    assert len(np.unique(labels[1:])) >= 19_800  # no other row is joined


def test_groups_do_not_depend_on_the_order(rows):
    turned = find_duplicates(rows[::-1])
    last = len(rows) - 1
    mirrored = {(group.match, frozenset(last - member for member in group.members)) for group in turned}
    assert mirrored == {(group.match, frozenset(group.members)) for group in find_duplicates(rows)}
