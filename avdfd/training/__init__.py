"""Parts of a training run: state, loop, run folder, checkpoint, optimiser, distributed, caches."""
