#!/usr/bin/env bash
#SBATCH --job-name=avdfd-evaluate
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --gres=gpu:1
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.out
# Scores a split with a trained run and writes a report; arguments are passed on.
#   bash evaluate.sh --run runs/train --split test          sbatch evaluate.sh --run runs/train --split test
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "evaluate.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python evaluate.py "$@"
