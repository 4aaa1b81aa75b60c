#!/usr/bin/env bash
# Runs the tests; arguments go to pytest.
#
#   bash test.sh                                               all, in one process per core
#   bash test.sh --quick                                       tests/unit, to be run while working: under two minutes
#   bash test.sh tests/unit/models/test_losses.py -k supcon    some, in one process
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash setup.sh --dev
# The tests and the processes that they start share few cores: one compute thread each, and threads that wait sleep.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
parallel=(-n auto --dist worksteal)
case "${1:-}" in
  "") set -- "${parallel[@]}" ;;
  --quick) set -- "${parallel[@]}" tests/unit "${@:2}" ;;
esac
exec .venv/bin/python -m pytest "$@"
