#!/usr/bin/env bash
# The whole pipeline on the built-in corpus, on CPU or GPU: corpus, elements, stage 1, stage 2, evaluation, detection.
# Can be interrupted and started again; what is done is not done again. Everything it makes is under data/demo and runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash setup.sh
python=.venv/bin/python
# Loader processes and compute threads share few cores: threads that wait must not spin.
export OMP_WAIT_POLICY=PASSIVE

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

step "1/5  corpus: talking heads with real and fake voices and mouths"
$python data/demo_corpus.py --out data/demo/videos
step "2/5  elements: windows of 3.072 s, mel and face frames"
$python data/preprocess.py --config config/demo/preprocess.json
step "3/5  stage 1: the audio branch"
$python pretrain.py --config config/demo/pretrain.json --resume
step "4/5  stage 2: vision predicted from audio, and fusion"
$python train.py --config config/demo/train.json --resume
step "5/5  evaluation on identities that no stage has seen"
$python evaluate.py --run runs/demo --split validation >/dev/null
$python evaluate.py --run runs/demo --split test --probes data/demo/videos
