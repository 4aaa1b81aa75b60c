#!/usr/bin/env bash
#SBATCH --job-name=avdfd-search
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# Runs the settings and seeds of the search named by CONFIG; arguments are passed on. An interrupted search resumes.
#   bash search.sh                                one run on each GPU of the machine, until all are done
#   bash search.sh --list                         the number of runs
#   sbatch --array=0-15 search.sh                 all of them by 16 tasks
#   SHARDS=16 sbatch --array=3,7 search.sh        two of the tasks again
#   CONFIG=config/search/demo.json bash search.sh --jobs 2
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "search.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
shard=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  shard=(--shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}")
fi
source launch.sh
supervise .venv/bin/python search.py --config "${CONFIG:-config/search/stage2.json}" "${shard[@]}" "$@"
