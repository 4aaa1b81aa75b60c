#!/usr/bin/env bash
# Runs the tests; arguments go to pytest: bash test.sh tests/test_losses.py -k supcon
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash setup.sh --dev
exec .venv/bin/python -m pytest "$@"
