"""Size and speed of the audio branch, as published and its robust variants, on one core, from audio to logit.

    python benchmarks/audio_branch.py [--batches 5]

Parameters are those of the encoder and its heads; FLOPs, of training, are those of `avdfd.training.flops`, which counts
matrix products and no statistics. The variants take turns, and the median batch of 32 clips counts. `trained` is the
forward pass on cached statistics, as in training without augmentation.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import PretrainConfig, load
from avdfd.features.mel import log_mel, zscore
from avdfd.features.window import WINDOW
from avdfd.training.build import build_audio_net
from avdfd.training.flops import training_flops

ROBUST = "config/pretrain_robust.json"
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "as published": ("config/pretrain.json", ()),
    "statistics of the mel": (ROBUST, ("--model.input=mel", "--model.spectra=[]")),
    "mel and 256": (ROBUST, ("--model.input=waveform", "--model.spectra=[256]")),
    "mel, 256 and 512": (ROBUST, ()),
    "mel and 256 to 2048": (ROBUST, ("--model.input=waveform", "--model.spectra=[256,512,1024,2048]")),
}
BATCH = 32


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    cli.add_argument("--batches", type=int, default=5)
    args = cli.parse_args()
    torch.set_num_threads(1)
    root = Path(__file__).resolve().parents[1]
    nets = {
        name: build_audio_net(load(root / path, PretrainConfig, overrides=[*overrides]).model).eval()
        for name, (path, overrides) in VARIANTS.items()
    }
    waveform = torch.randn(BATCH, WINDOW) / 10
    mel = zscore(log_mel(waveform))
    inputs = {name: waveform if net.encoder.spectra else mel for name, net in nets.items()}
    patches = {name: net.encoder.front(inputs[name]) for name, net in nets.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    with torch.inference_mode():
        for turn in range(1 + args.batches):
            for name, net in nets.items():
                for part, taken in (("whole", inputs[name]), ("trained", patches[name])):
                    started = time.perf_counter()
                    net(taken)
                    if turn:  # the first one warms up
                        seconds.setdefault((name, part), []).append(time.perf_counter() - started)
    for name, net in nets.items():
        parameters = sum(p.numel() for p in net.parameters())
        whole, trained = (BATCH / statistics.median(seconds[name, part]) for part in ("whole", "trained"))
        flops = training_flops(net, patches[name])
        print(
            f"{name:<22} {parameters / 1e6:6.3f} M parameters  {flops / 1e6:7.2f} MFLOP per clip  {whole:6.0f} clips/s"
            f"  {trained:7.0f} clips/s trained"
        )


if __name__ == "__main__":
    main()
