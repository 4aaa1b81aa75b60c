#!/usr/bin/env bash
#SBATCH --job-name=avdfd-baseline
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# All stages of a published system, in order, with the config named by CONFIG; arguments are passed on.
#   CONFIG=config/baseline_mrdf.json bash baseline.sh --train.lr=1e-4      every GPU of the machine
#   CONFIG=... sbatch baseline.sh --stage pretrain                         one GPU; saves and is requeued, like train.sh
#   CONFIG=... sbatch -N 2 --gres=gpu:8 baseline.sh                        sixteen
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "baseline.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
source launch.sh
launch baseline.py --config "${CONFIG:-config/baseline_avff.json}" --resume "$@"
