"""What a training run needs: state, loop, run folder, checkpoint, optimiser, distributed, caches."""
