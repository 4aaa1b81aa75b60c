"""Size and speed of the audio branch, as published and robust, on one core: mel in, logit out.

    python benchmarks/audio_branch.py [--batches 5]

Parameters are those of the encoder and its heads; FLOPs, of training, are those of `avdfd.flops`, which counts
products of matrices and no statistics. The variants take turns, and the median batch of 32 clips counts.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import PretrainConfig, load
from avdfd.flops import training_flops
from avdfd.models.audio_encoder import AudioNet

CONFIGS = ("config/pretrain.json", "config/pretrain_robust.json")
BATCH = 32


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    cli.add_argument("--batches", type=int, default=5)
    args = cli.parse_args()
    torch.set_num_threads(1)
    root = Path(__file__).resolve().parents[1]
    nets = {name: AudioNet(load(root / name, PretrainConfig, overrides=[]).model).eval() for name in CONFIGS}
    mel = torch.randn(BATCH, 128, 768)
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    with torch.inference_mode():
        for turn in range(1 + args.batches):
            for name, net in nets.items():
                started = time.perf_counter()
                net(mel)
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - started)
    for name, net in nets.items():
        parameters = sum(p.numel() for p in net.parameters())
        rate = BATCH / statistics.median(seconds[name])
        flops = training_flops(net, mel)
        print(f"{name:<28} {parameters / 1e6:6.3f} M parameters  {flops / 1e6:9.2f} MFLOP a clip  {rate:7.0f} clips/s")


if __name__ == "__main__":
    main()
