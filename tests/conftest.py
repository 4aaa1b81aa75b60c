import signal

import pytest

# What is started in the background ignores Ctrl-C, and so do the scripts that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slurm", action="store_true", help="also tests that submit jobs to SLURM")
