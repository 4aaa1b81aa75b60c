#!/usr/bin/env bash
#SBATCH --job-name=avdfd-baseline
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%j.out
# A published system with the config that CONFIG names: all its stages, in order; more arguments are passed on.
#   CONFIG=config/baseline_mrdf.json bash baseline.sh --train.lr=1e-4          CONFIG=... sbatch baseline.sh --stage pretrain
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")}"
bash setup.sh
exec .venv/bin/python baseline.py --config "${CONFIG:-config/baseline_avff.json}" --resume "$@"
