"""Figures of scored clips as pure functions: ROC, bootstrap, calibration, paired tests."""
