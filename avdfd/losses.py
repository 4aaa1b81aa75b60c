"""Public name of `avdfd.models.losses`."""

from avdfd.models.losses import *  # noqa: F403
