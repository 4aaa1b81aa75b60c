#!/usr/bin/env bash
#SBATCH --job-name=avdfd-pretrain
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# Stage 1 with the config named by CONFIG; arguments are passed on.
#   bash pretrain.sh --optim.lr=1e-4                         every GPU of the machine
#   CONFIG=config/demo/pretrain.json bash pretrain.sh
#   sbatch pretrain.sh                                       one GPU; saves before its time limit and is requeued
#   sbatch -N 2 --gres=gpu:8 pretrain.sh                     sixteen
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "pretrain.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
source launch.sh
launch pretrain.py --config "${CONFIG:-config/pretrain.json}" --resume "$@"
