#!/usr/bin/env bash
#SBATCH --job-name=avdfd-preprocess
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
#SBATCH --requeue
# Videos -> elements with the config named by CONFIG; arguments are passed on. An interrupted run resumes.
#   bash data/preprocess.sh --input=/data/FakeAVCeleb        CONFIG=config/demo/preprocess.json bash data/preprocess.sh
#   sbatch data/preprocess.sh                                (from the root of the repository)
#   sbatch --array=0-15 data/preprocess.sh                   one store written by 16 tasks
#   SHARDS=16 sbatch --array=3,7 data/preprocess.sh          two of the tasks again
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "preprocess.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
shard=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  shard=(--shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}")
fi
exec .venv/bin/python data/preprocess.py --config "${CONFIG:-config/preprocess.json}" "${shard[@]}" "$@"
