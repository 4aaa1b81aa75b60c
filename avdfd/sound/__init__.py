"""The sound that clips are given: cues in it, one chain for all, and putting it beside an untouched picture."""
