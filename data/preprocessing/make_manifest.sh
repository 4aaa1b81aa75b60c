#!/usr/bin/env bash
#SBATCH --job-name=avdfd-manifest
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Lists a data set; arguments are passed on. An interrupted run resumes.
#   bash data/preprocessing/make_manifest.sh --root /data/FakeAVCeleb_v1.2 --out data/manifests/fakeavceleb.parquet
#   sbatch data/preprocessing/make_manifest.sh ...           (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "make_manifest.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocessing/make_manifest.py "$@"
