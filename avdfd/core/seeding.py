"""Chance that is decided by a name: the same in every run, whatever else is drawn and in which order."""

import hashlib

import numpy as np


def number_of(name: str) -> int:
    """A number below 2 ** 64."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def generator_of(name: str) -> np.random.Generator:
    """A generator whose seed is `number_of` the name."""
    return np.random.default_rng(number_of(name))
