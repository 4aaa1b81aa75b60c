#!/usr/bin/env bash
#SBATCH --job-name=avdfd-clone-voices
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.out
# Clones voices with the config named by CONFIG; arguments are passed on. An interrupted run resumes.
# In a SLURM array each task does one share; to repeat some of the tasks, set SHARDS to their full number.
#   bash data/preprocessing/clone_voices.sh --input=/data/FakeAVCeleb_v1.2 --output=/data/clones
#   sbatch --array=0-3 --gres=gpu:1 data/preprocessing/clone_voices.sh ...       (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "clone_voices.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  set -- --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}" "$@"
fi
exec .venv/bin/python data/preprocessing/clone_voices.py --config "${CONFIG:-config/clone_voices.json}" "$@"
