"""Audio-visual deepfake detection: one shared package for all scripts of this repository."""
