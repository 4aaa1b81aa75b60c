#!/usr/bin/env bash
#SBATCH --job-name=avdfd-ablate
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# Runs the rows of the ablation named by CONFIG; arguments are passed on. An interrupted ablation resumes.
#   bash ablate.sh                                one run on each GPU of the machine, then the table
#   bash ablate.sh --list                         the number of runs
#   sbatch --array=0-53 ablate.sh                 training by 54 tasks; when they are done: sbatch ablate.sh
#   CONFIG=config/demo/ablation.json bash ablate.sh
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "ablate.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
shard=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  shard=(--shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}")
fi
source launch.sh
supervise .venv/bin/python ablate.py --config "${CONFIG:-config/ablation.json}" "${shard[@]}" "$@"
