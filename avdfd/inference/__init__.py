"""Load a trained run, score elements and files, explain scores."""
