#!/usr/bin/env bash
# Runs the tests; arguments go to pytest: bash test.sh tests/unit/models/test_losses.py -k supcon
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash setup.sh --dev
# Loader processes and compute threads share few cores: threads that wait must not spin.
export OMP_WAIT_POLICY=PASSIVE
exec .venv/bin/python -m pytest "$@"
