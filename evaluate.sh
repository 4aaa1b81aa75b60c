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
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")}"
bash setup.sh
exec .venv/bin/python evaluate.py "$@"
