#!/usr/bin/env bash
#SBATCH --job-name=avdfd-splits
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.out
# Writes the lists of a protocol; arguments are passed on.
#   bash data/preprocessing/make_splits.sh avdfd_7_3 --manifest m.parquet --duplicates m.parquet.duplicates.csv --out FOLDER
#   sbatch data/preprocessing/make_splits.sh ...             (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "make_splits.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocessing/make_splits.py "$@"
