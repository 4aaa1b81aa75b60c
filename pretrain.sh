#!/usr/bin/env bash
#SBATCH --job-name=avdfd-pretrain
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Stage 1 with the config that CONFIG names; more arguments are passed on.
#   bash pretrain.sh --optim.lr=1e-4          CONFIG=config/demo/pretrain.json bash pretrain.sh          sbatch pretrain.sh
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts from where it was submitted.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "pretrain.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python pretrain.py --config "${CONFIG:-config/pretrain.json}" --resume "$@"
