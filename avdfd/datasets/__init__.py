"""Elements to batches: loaders, model inputs, samplers, transforms and residency."""
