"""Foundations of all other packages: errors, files, records, workers, signals, shards, seeds, tiers and clips."""
