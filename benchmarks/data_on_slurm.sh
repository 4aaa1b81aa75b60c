#!/usr/bin/env bash
# From a root of videos to a training run on a SLURM cluster, one job after the other:
# check -> clone (4 tasks) -> manifest with near-duplicates -> splits -> preprocess (4 tasks) -> stage 1.
#   .venv/bin/python data/demo_corpus.py --out FOLDER/videos --identities 40
#   bash benchmarks/data_on_slurm.sh FOLDER/videos FOLDER/work [sbatch arguments]
# Only the real clips of the root are used; the fakes are cloned here. Prints state and time of every job; exit code 1
# if one of them failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
videos=$(realpath "$1") work=$(realpath -m "$2")
shift 2
mkdir -p "$work"
submit() { sbatch --parsable --output="$work/%x-%A_%a.out" "$@"; }

cat > "$work/pretrain.json" <<JSON
{"kind": "pretrain", "name": "stage1", "runs": "$work/runs",
 "data": {"elements": "$work/elements", "splits": "$work/splits/avdfd_7_3.csv", "fake_tiers": ["RVFA-SVC", "RVFA-VC"]},
 "model": {"dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128, "patch_frames": 16, "projection_dim": 64},
 "optim": {"lr": 5e-4, "epochs": 3, "warmup_epochs": 1, "batch_size": 16}}
JSON

check=$(submit "$@" data/preprocessing/check_fakeavceleb.sh "$videos" --subset)
clone=$(submit "$@" --array=0-3 --dependency="afterany:$check" data/preprocessing/clone_voices.sh \
  --input="$videos" --output="$work/clones" --candidates=3 --workers=1)
manifest=$(submit "$@" --dependency="afterok:$clone" data/preprocessing/make_manifest.sh \
  --root "$work/clones" --out "$work/clones.parquet" --duplicates)
splits=$(submit "$@" --dependency="afterok:$manifest" data/preprocessing/make_splits.sh avdfd_7_3 \
  --manifest "$work/clones.parquet" --duplicates "$work/clones.parquet.duplicates.csv" --out "$work/splits")
elements=$(submit "$@" --array=0-3 --dependency="afterok:$splits" data/preprocess.sh \
  --input="$work/clones" --manifest="$work/clones.parquet" --output="$work/elements" --media.hop=1.024 --workers=1)
train=$(CONFIG="$work/pretrain.json" submit "$@" --gres=none --dependency="afterok:$elements" pretrain.sh)

state() { scontrol -o show job "$1" | grep -oE 'JobState=[A-Z]+' | sort | uniq -c | tr '\n' ' '; }
while [[ $(state "$train") =~ PENDING|RUNNING|COMPLETING|CONFIGURING ]]; do
  # Do not wait for a job that can no longer start.
  if scontrol -o show job "$train" | grep -q DependencyNeverSatisfied; then scancel "$train"; fi
  sleep 1
done
for name in check clone manifest splits elements train; do
  seconds=$(scontrol -o show job "${!name}" | grep -oE 'RunTime=[0-9:]+' | cut -d= -f2 | sort | tail -n 1)
  printf '%-9s %-30s %s\n' "$name" "$(state "${!name}")" "$seconds"
done
[[ $(state "$train") == *COMPLETED* ]]
