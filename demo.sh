#!/usr/bin/env bash
# The whole pipeline on the built-in corpus, on CPU or GPU: corpus, codec parity, elements, both stages, a baseline,
# evaluation.
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

step "1/7  corpus: talking heads with real and fake voices and mouths"
$python data/demo_corpus.py --out data/demo/videos
step "2/7  codec parity: one audio chain for real and fake"
$python data/preprocessing/codec_parity.py --config config/demo/codec_parity.json
step "3/7  elements: windows of 3.072 s, mel and face frames"
$python data/preprocess.py --config config/demo/preprocess.json
step "4/7  stage 1: the audio branch"
$python pretrain.py --config config/demo/pretrain.json --resume
step "5/7  stage 2: video predicted from audio, and fusion"
$python train.py --config config/demo/train.json --resume
step "6/7  baselines: ${baselines[*]}"
for name in "${baselines[@]}"; do
  $python baseline.py --config "config/demo/baseline_$name.json" --resume
done
step "7/7  evaluation on identities that no stage was trained on"
against=("${baselines[@]/#/runs/demo-}")
$python evaluate.py --run runs/demo --against "${against[@]}" --split validation >/dev/null
$python evaluate.py --run runs/demo --against "${against[@]}" --split test --counterfactuals \
  --probes data/demo/parity
