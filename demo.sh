#!/usr/bin/env bash
# The whole pipeline on the built-in corpus, on CPU or GPU: corpus, codec parity, elements, all stages, a
# baseline, evaluation.
#   bash demo.sh          AVFF as the baseline
#   bash demo.sh --all    AVFF, MRDF and VFD
# Resumes when it is started again after an interruption. It writes to data/demo and runs only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
baselines=(avff)
case "${1:-}" in
  "") ;;
  --all) baselines=(avff mrdf vfd) ;;
  *) echo "demo.sh: unknown argument '$1'; it takes --all or nothing" >&2; exit 2 ;;
esac
bash setup.sh
python=.venv/bin/python
# Loader processes and compute threads share few cores, so waiting threads must not spin.
export OMP_WAIT_POLICY=PASSIVE

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

step "1/8  corpus: talking heads with real and fake voices and mouths"
$python data/demo_corpus.py --out data/demo/videos
step "2/8  codec parity: one audio chain for real and fake"
$python data/preprocessing/codec_parity.py --config config/demo/codec_parity.json
step "3/8  elements: windows of 3.072 s, mel, face frames and landmarks"
$python data/preprocess.py --config config/demo/preprocess.json
step "4/8  stage 1: the audio branch"
$python pretrain.py --config config/demo/pretrain.json --resume
step "5/8  stage 2a: the mouth predicted from audio, on real clips alone"
$python train.py --stage consistency --config config/demo/consistency.json --resume
step "6/8  stage 2: audio, consistency, picture, and fusion"
$python train.py --config config/demo/train.json --resume
step "7/8  baselines: ${baselines[*]}"
for name in "${baselines[@]}"; do
  $python baseline.py --config "config/demo/baseline_$name.json" --resume
done
step "8/8  evaluation on identities that no stage was trained on"
against=("${baselines[@]/#/runs/demo-}")
$python evaluate.py --run runs/demo --against "${against[@]}" --split validation >/dev/null
$python evaluate.py --run runs/demo --against "${against[@]}" --split test --counterfactuals \
  --probes data/demo/parity
