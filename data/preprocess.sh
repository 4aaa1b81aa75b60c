#!/usr/bin/env bash
#SBATCH --job-name=avdfd-preprocess
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Videos -> elements with the config that CONFIG names; more arguments are passed on. An interrupted run goes on.
#   bash data/preprocess.sh --input=/data/FakeAVCeleb        CONFIG=config/demo/preprocess.json bash data/preprocess.sh
#   sbatch data/preprocess.sh                                (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts from where it was submitted.
root=$(dirname "${BASH_SOURCE[0]}")/..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "preprocess.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocess.py --config "${CONFIG:-config/preprocess.json}" "$@"
