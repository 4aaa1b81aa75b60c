"""What a model is trained on: tiers and labels, manifests, splits, transforms, samplers and loaders."""
