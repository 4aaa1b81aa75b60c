"""Waveform to features as pure functions: mel, spectra, filter banks, statistics."""
