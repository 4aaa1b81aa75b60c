#!/usr/bin/env bash
#SBATCH --job-name=avdfd-train
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# Stage 2 with the config named by CONFIG; arguments are passed on.
#   bash train.sh --optim.lr=1e-4                         every GPU of the machine
#   CONFIG=config/demo/train.json bash train.sh
#   bash train.sh --stage consistency                     stage 2a, with config/consistency.json
#   sbatch train.sh                                       one GPU; saves before its time limit and is requeued
#   sbatch -N 2 --gres=gpu:8 train.sh                     sixteen
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "train.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
source launch.sh
launch train.py ${CONFIG:+--config "$CONFIG"} --resume "$@"
