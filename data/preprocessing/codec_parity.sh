#!/usr/bin/env bash
#SBATCH --job-name=avdfd-parity
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Gives all videos the sound of one chain, with the config that CONFIG names; arguments are passed on. An interrupted
# run goes on. As a SLURM array each task makes a part; a repeated array with fewer tasks needs SHARDS, their number.
#   bash data/preprocessing/codec_parity.sh --input=/data/FakeAVCeleb_v1.2 --output=/data/FakeAVCeleb_v1.2-parity
#   sbatch --array=0-3 data/preprocessing/codec_parity.sh ...           (from the root of the repository)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts from where it was submitted.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/../..}"
bash setup.sh
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  set -- --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}" "$@"
fi
exec .venv/bin/python data/preprocessing/codec_parity.py --config "${CONFIG:-config/codec_parity.json}" "$@"
