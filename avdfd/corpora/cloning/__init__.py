"""Voice-cloned clips made from real ones: choice of the reference, conversion, scores, choice of the candidate."""
