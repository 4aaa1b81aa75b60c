"""Public name of `avdfd.models.losses`."""

from avdfd.models.losses import align_repel, confidence, in_sync, ordinal_ring, ranking, supcon

__all__ = ["align_repel", "confidence", "in_sync", "ordinal_ring", "ranking", "supcon"]
