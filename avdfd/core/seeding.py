"""Random numbers seeded by a name: the same in every run, independent of other draws and of their order."""

import hashlib

import numpy as np


def seed_of(name: str) -> int:
    """Return the seed of a name, an integer below 2 ** 64."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def generator_of(name: str) -> np.random.Generator:
    """Return a generator seeded with `seed_of` the name."""

    return np.random.default_rng(seed_of(name))
