#!/usr/bin/env bash
#SBATCH --job-name=avdfd-gpu
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=00:15:00
#SBATCH --output=%x-%j.out
# Speed of training on a GPU, in nine minutes once .venv is there: benchmarks/gpu/<card>-<date>.json and .md.
#   bash benchmarks/gpu.sh [--seconds 540] [--only TEXT]
#   PYTHON=python3 bash benchmarks/gpu.sh      with an interpreter that has the packages of requirements.txt
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
python=${PYTHON:-.venv/bin/python}
if [[ -z ${PYTHON:-} ]]; then bash setup.sh; fi
exec "$python" benchmarks/gpu.py --since "$(date +%s)" "$@"
