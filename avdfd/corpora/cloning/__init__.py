"""Voice-cloned clips from real ones: whose voice to take, conversion, scores, and which candidate is kept."""
