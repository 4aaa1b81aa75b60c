#!/usr/bin/env bash
#SBATCH --job-name=avdfd-parity
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Passes the audio of all videos through one chain, with the config named by CONFIG; arguments are passed on. An
# interrupted run resumes. In a SLURM array each task does one share; to repeat some of the tasks, set SHARDS to their
# full number.
#   bash data/preprocessing/codec_parity.sh --input=/data/FakeAVCeleb_v1.2 --output=/data/FakeAVCeleb_v1.2-parity
#   sbatch --array=0-3 data/preprocessing/codec_parity.sh ...           (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "codec_parity.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  set -- --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}" "$@"
fi
exec .venv/bin/python data/preprocessing/codec_parity.py --config "${CONFIG:-config/codec_parity.json}" "$@"
