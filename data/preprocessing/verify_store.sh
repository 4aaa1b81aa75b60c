#!/usr/bin/env bash
#SBATCH --job-name=avdfd-verify-store
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.out
# Checks an element store; arguments are passed on.
#   bash data/preprocessing/verify_store.sh data/elements
#   sbatch data/preprocessing/verify_store.sh ...       (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "verify_store.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocessing/verify_store.py "$@"
