"""What everything else stands on: errors, files, workers, signals, seeds, tiers and clips."""
