"""Identities of the built-in corpus and their texts: draws of voices, cloning settings and English sentences."""

from dataclasses import dataclass, replace

import numpy as np

from avdfd.corpora.cloning.world import CloneSettings, median_f0
from data.corpus.speech import RATE, Speech, Voice, speak, speak_within

# Variants of espeak-ng's own formant synthesiser that resemble human voices, without whispers and breath noise. Klatt
# variants are reserved for the fakes.
_MEN = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "max", "michel", "miguel", "robert", "Andy", "Gene", "Gene2", "Lee",
    "Michael", "Mario", "boris", "john", "norbert", "gustave", "Denis", "pablo", "Diogo",
    "marcelo", "travis",
)  # fmt: skip
_WOMEN = (
    "f1", "f4", "Annie", "linda", "belinda", "steph", "aunty", "Andrea", "shelby",
    "grandma",
)  # fmt: skip
_KLATT = ("klatt2", "klatt3", "klatt4", "klatt5", "klatt6")

_RACES = ("African", "Asian (East)", "Asian (South)", "Caucasian (American)", "Caucasian (European)")

_SUBJECTS = (
    "my brother", "the old farmer", "a young painter", "our neighbour", "the captain", "a small puppy", "the baker",
    "her best friend", "the museum", "every member of the band", "the bus driver", "a famous poet", "his grandmother",
    "the mayor", "a brave swimmer", "the football team", "my favourite uncle", "the woman above us",
    "a travelling merchant", "the new engineer",
)  # fmt: skip
_VERBS = (
    "bought", "painted", "moved", "remembered", "described", "borrowed", "carried", "found", "promised", "built",
    "watched", "opened", "brought home", "wrapped up", "measured", "photographed", "dropped", "repaired", "washed",
    "kept",
)  # fmt: skip
_OBJECTS = (
    "a yellow umbrella", "the broken piano", "many paper boats", "five purple flowers", "a map of the harbour",
    "the wooden bridge", "some apple jam", "a box of maps", "the moving picture", "a very warm blanket",
    "two empty bottles", "the summer house", "a bowl of mushroom soup", "the big blue boat", "a heavy brown basket",
    "an album of stamps", "the main window", "fresh bread",
)  # fmt: skip
_PLACES = (
    "near the river", "before the meeting", "in the middle of May", "behind the shop", "after the storm",
    "on Monday morning", "by the open fire", "above the market", "for a simple reason", "during the evening",
    "without any help", "at the bus stop", "from the upper room", "on the way to Rome", "with both hands",
    "over the mountain",
)  # fmt: skip
_STARTS = (
    "yesterday", "today", "perhaps", "in my opinion", "believe me", "last week", "as far as I know", "of course",
    "from time to time",
)  # fmt: skip
_LINKS = (
    "and", "but", "while", "because", "so", "before",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """One identity: its name and folders, its voice, and the seed of all other draws."""

    name: str
    race: str
    gender: str
    voice: Voice
    seed: tuple[int, int]


def draw_identity(index: int, seed: int) -> Identity:
    """Draw identity number `index` of a corpus; it does not depend on the number of identities."""
    rng = np.random.default_rng((seed, index, 0))
    # Voices and faces alternate, so that consecutive identities are as mixed as the whole corpus.
    gender = ("men", "women")[index % 2]
    variants = _MEN if gender == "men" else _WOMEN
    order = np.random.default_rng((seed, 1_000_003)).permutation(len(variants))
    variant = variants[order[index // 2 % len(variants)]]
    pitch = int(rng.integers(35, 66)) if gender == "men" else int(rng.integers(25, 52))
    tract = float(rng.uniform(0.95, 1.06))
    voice = Voice(variant, pitch, int(rng.integers(45, 85)), int(rng.integers(150, 186)), tract)
    race = _RACES[(index // 2 + seed) % len(_RACES)]
    return Identity(f"id{index:05d}", race, gender, voice, (seed, index))


def draw_text(rng: np.random.Generator) -> str:
    """Draw two English clauses, one of them with a place: five or six seconds of speech."""

    def pick(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words))]

    clauses = [f"{pick(_SUBJECTS)} {pick(_VERBS)} {pick(_OBJECTS)}" for _ in range(2)]
    clauses[rng.integers(2)] += f" {pick(_PLACES)}"
    start = f"{pick(_STARTS)}, " if rng.random() < 0.3 else ""
    return f"{start}{clauses[0]}, {pick(_LINKS)} {clauses[1]}."


def draw_texts(voice: Voice, shortest: float, longest: float, rng: np.random.Generator) -> tuple[str, str, int]:
    """Draw two texts that last from `shortest` to `longest` s in this voice, and their mean length in samples.

    The longer one lasts at most a tenth longer. Which one comes first is drawn: both have the same distribution.
    """

    def draw(low: float, high: float) -> tuple[str, float]:
        for _ in range(200):
            text = draw_text(rng)
            seconds = speak(text, voice).seconds
            if low <= seconds <= high:
                return text, seconds
        raise RuntimeError(f"no text of {low}-{high} s found for {voice}")

    text, seconds = draw(shortest, longest)
    another, its_seconds = draw(max(shortest, seconds / 1.1), min(longest, seconds * 1.1))
    samples = round((seconds + its_seconds) / 2 * RATE)
    return (text, another, samples) if rng.random() < 0.5 else (another, text, samples)


def impersonate(text: str, voice: Voice, samples: int, f0: float, rng: np.random.Generator) -> Speech:
    """Synthesise `text` with espeak-ng's Klatt synthesiser, in `samples` samples, at a median pitch near `f0` Hz."""
    tract = voice.tract * (1.18 if f0 > 150 else 1.0)  # its voices are male: a shorter vocal tract makes them female
    other = replace(voice, variant=_KLATT[rng.integers(len(_KLATT))], tract=tract)
    low, high = 0, 99
    while high - low > 4:
        middle = (low + high) // 2
        found = median_f0(speak(text, replace(other, pitch=middle)).samples)
        low, high = (middle, high) if found < f0 else (low, middle)
    return speak_within(text, replace(other, pitch=high), samples)


def draw_clone(rough: bool, rng: np.random.Generator) -> CloneSettings:
    """Draw the settings of a clone; a `rough` one is made from another recording of the voice."""
    cepstrum, smooth, flatten = ((18, 24), (5, 8), (0.1, 0.3)) if rough else ((22, 29), (4, 7), (0.0, 0.1))
    return CloneSettings(
        cepstrum=int(rng.integers(*cepstrum)),
        smooth=int(rng.integers(*smooth)),
        flatten=float(rng.uniform(*flatten)),
        voiced_to=float(rng.uniform(2000, 3500)),
        band=float(rng.uniform(5500, 6700)),
        missing=float(rng.uniform(6, 15)),
    )
