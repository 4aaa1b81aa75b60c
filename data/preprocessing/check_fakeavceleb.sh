#!/usr/bin/env bash
#SBATCH --job-name=avdfd-check-fakeavceleb
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.out
# Compares a FakeAVCeleb root with the release; arguments are passed on.
#   bash data/preprocessing/check_fakeavceleb.sh /data/FakeAVCeleb_v1.2 --json check.json
#   sbatch data/preprocessing/check_fakeavceleb.sh ...       (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "check_fakeavceleb.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocessing/check_fakeavceleb.py "$@"
