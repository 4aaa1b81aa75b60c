#!/usr/bin/env bash
#SBATCH --job-name=avdfd-voxceleb2
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=48:00:00
#SBATCH --output=%x-%j.out
# Downloads all VoxCeleb2 clips that the hub holds. An interrupted run resumes.
#   bash data/preprocessing/voxceleb2_download.sh --out /data/VoxCeleb2 --dry-run
#   sbatch data/preprocessing/voxceleb2_download.sh --out /data/VoxCeleb2 --workers 8          (from the repository's root)
set -euo pipefail
# Under sbatch this file is a copy in a spool folder; the job starts in the folder it was submitted from.
root=$(dirname "${BASH_SOURCE[0]}")/../..
[[ -f $root/setup.sh ]] || root=${SLURM_SUBMIT_DIR:-.}
cd "$root"
[[ -f setup.sh ]] || { echo "voxceleb2_download.sh: submit it from the root of the repository" >&2; exit 2; }
exec bash data/preprocessing/down_vox2.sh --all "$@"
