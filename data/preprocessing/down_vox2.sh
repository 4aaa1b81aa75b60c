#!/usr/bin/env bash
#SBATCH --job-name=avdfd-down-vox2
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.out
# Downloads the VoxCeleb2 clips of the identities that the arguments name. An interrupted run resumes.
#   bash data/preprocessing/down_vox2.sh --fakeavceleb /data/FakeAVCeleb_v1.2 --out /data/VoxCeleb2 --dry-run
#   sbatch data/preprocessing/down_vox2.sh --identities ids.txt --out /data/VoxCeleb2       (from the repository's root)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "down_vox2.sh: submit it from the root of the repository" >&2; exit 2; }
bash setup.sh
exec .venv/bin/python data/preprocessing/down_vox2.py "$@"
