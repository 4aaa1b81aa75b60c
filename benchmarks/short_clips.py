"""Clips shorter than a window: how they are made to fill one, and what that costs.

    .venv/bin/python train.py --config config/demo/train_two_branches.json             after demo.sh
    .venv/bin/python benchmarks/short_clips.py --run runs/demo-two-branches --split validation
    .venv/bin/python benchmarks/short_clips.py --run runs/demo-two-branches --elements data/clips --split all

Cuts every window of the evaluated clips to its first 1 to 2.5 s and scores it

    repeated     audio and frames together, from the start: what readers of elements do
    mirrored     audio and frames together, forwards and backwards in turn
    masked       without the tokens of audio and video beyond its end; detectors with two branches only, on a mel

Prints the AUC of each branch over windows with its interval over identities, and how the scores agree with those of the
whole windows: the mean absolute difference and Spearman's rank correlation.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from avdfd.core.progress import Bar
from avdfd.datasets.loaders import Inputs, prepare, stack
from avdfd.datasets.split_elements import split_metas
from avdfd.datasets.transforms import FRAME_CHOICE, video_input
from avdfd.elements import Element, ElementStore, window_labels
from avdfd.elements.form import mel_of
from avdfd.features.mel import HOP, log_mel, zscore
from avdfd.features.window import FPS, FRAMES, MEL_FRAMES, SAMPLE_RATE, WINDOW
from avdfd.inference.runs import Run, load_run
from avdfd.metrics import bootstrap, roc
from avdfd.models.audio_encoder import AudioEncoder
from avdfd.models.predictor import VisualPredictor
from avdfd.models.two_branch import Encoded, TwoBranchDetector
from avdfd.splits.lists import of_tiers

SECONDS = (1.0, 1.52, 2.0, 2.52)
"""Durations in whole frames of 40 ms."""
WHOLE = "whole"
BATCH = 8


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--run", required=True)
    cli.add_argument("--elements", help="element store (default: that of the run)")
    cli.add_argument("--split", default="validation", help="a split of the run, or all")
    cli.add_argument("--bootstrap", type=int, default=1000)
    args = cli.parse_args()
    run = load_run(args.run, "cpu")
    store = ElementStore(args.elements or run.config.data.elements)
    tiers = {*store.metas.coded("tier").values}
    metas = of_tiers(store.metas, tiers) if args.split == "all" else split_metas(run.config, store, args.split, tiers)
    metas = [meta for meta in metas if not meta.short]
    labels, identities = window_labels(metas), [meta.identities[0] for meta in metas]
    found: dict[tuple[str, float, str], list[np.ndarray]] = {}
    for first in Bar(range(0, len(metas), BATCH), desc="score", unit="batch"):
        keys = [meta.key for meta in metas[first : first + BATCH]]
        landmarks = run.inputs.reads.landmarks
        elements = [store.read(key, waveform=True, frames=range(FRAMES), landmarks=landmarks) for key in keys]
        for (way, seconds), scores in score_ways(run, elements).items():
            for branch, values in scores.items():
                found.setdefault((way, seconds, branch), []).append(values)
    counts = f"{len(metas)} windows, {labels.sum()} of them fake, {len({*identities})} identities"
    print(f"{args.run}, {args.split}: {counts}")
    whole = {branch: np.concatenate(values) for (way, _, branch), values in found.items() if way == WHOLE}
    for (way, seconds, branch), parts in sorted(found.items(), key=lambda item: (item[0][2], item[0][1], item[0][0])):
        print(line(f"{branch:8s} {seconds:5.2f} s {way:9s}", labels, identities, np.concatenate(parts), whole[branch],
                   args.bootstrap))  # fmt: skip


def line(
    name: str, labels: np.ndarray, identities: list[str], scores: np.ndarray, whole: np.ndarray, draws: int
) -> str:
    """Return AUC with its interval, mean absolute difference and rank correlation as text."""
    measured = bootstrap.measure(
        lambda weights, _: {"auc": roc.area(roc.roc(labels, scores, weights))}, labels, identities, replicates=draws
    )
    low, high = measured["auc_interval"] or (np.nan, np.nan)
    agreement = f"difference {np.abs(scores - whole).mean():.3f}  rank {spearmanr(scores, whole).statistic:.3f}"
    return f"{name} AUC {measured['auc']:.3f} [{low:.3f}, {high:.3f}]  {agreement}"


@torch.inference_mode()
def score_ways(run: Run, elements: list[Element]) -> dict[tuple[str, float], dict[str, np.ndarray]]:
    """Return P(fake) of each branch by way and seconds."""
    scores = {(WHOLE, WINDOW / SAMPLE_RATE): probabilities(run, run.columns(batch_of(run, elements)))}
    ways: dict[str, Callable[[int, int], np.ndarray]] = {"repeated": repeated, "mirrored": mirrored}
    for seconds in SECONDS:
        for way, order in ways.items():
            cut = [filled(element, round(seconds * FPS), order) for element in elements]
            scores[way, seconds] = probabilities(run, run.columns(batch_of(run, cut)))
        if isinstance(run.model, TwoBranchDetector) and getattr(run.inputs, "audio", None) == "mel":
            scores["masked", seconds] = probabilities(run, masked(run.model, run, elements, round(seconds * FPS)))
    return scores


def batch_of(run: Run, elements: list[Element]) -> Any:
    """Return the model's batch of elements with all their frames."""
    wanted = run.inputs.reads.frames
    chosen = [replace(e, frames=None if wanted is None else e.frames[list(wanted)]) for e in elements]
    return prepare(run.inputs, stack([run.inputs.raw(element) for element in chosen]), None)


def probabilities(run: Run, columns: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {branch: torch.sigmoid(columns[branch].double()).numpy() for branch in run.branches}


def repeated(count: int, length: int) -> np.ndarray:
    """Return the places (length,) in a clip of `count` from which it is filled."""
    return np.arange(length) % count


def mirrored(count: int, length: int) -> np.ndarray:
    """Return the same, with every second repetition backwards."""
    place = np.arange(length) % (2 * count)
    return np.where(place < count, place, 2 * count - 1 - place)


def filled(element: Element, frames: int, order: Callable[[int, int], np.ndarray]) -> Element:
    """Cut a window to its first frames and fill it again."""
    waveform, moments = element.waveform[order(frames * SAMPLE_RATE // FPS, WINDOW)], order(frames, FRAMES)
    landmarks = None if element.landmarks is None else element.landmarks[moments]
    return replace(
        element, waveform=waveform, mel=mel_of(waveform), frames=element.frames[moments], landmarks=landmarks
    )


def masked(model: TwoBranchDetector, run: Run, elements: list[Element], frames: int) -> dict[str, Tensor]:
    """Score windows by the tokens that are wholly within their first frames: no token attends to a later one.

    Positions are those in the window. The mel is normalised over the audio that is there, and the predictor is given
    the last token of the audio in place of later ones, to interpolate between.
    """
    audio = torch.from_numpy(np.stack([element.waveform[: frames * SAMPLE_RATE // FPS] for element in elements]))
    encoder, backbone = model.audio_encoder, model.visual_encoder.backbone
    assert isinstance(encoder, AudioEncoder), "a pretrained encoder takes spectra or the waveform"
    all_patches = encoder.front.patches
    size = MEL_FRAMES // all_patches
    count = audio.shape[1] // HOP // size
    mel = zscore(log_mel(audio)[..., : count * size])
    values = encoder.front._replace(patches=count)(mel).values
    tokens = encoder.encoder(encoder.patch_proj(values) + encoder.pos_emb[:, :count])
    feature = tokens.mean(dim=1)

    steps = sum(place < frames for place in FRAME_CHOICE) // backbone.tubelet
    shown = FRAME_CHOICE[: steps * backbone.tubelet]
    assert isinstance(run.inputs, Inputs), "a detector's own"
    assert run.inputs.image_size is not None, "a detector takes frames"
    raw = torch.from_numpy(np.stack([element.frames[shown] for element in elements]))
    video = video_input(raw, run.inputs.image_size, run.inputs.augment, None)
    patches = backbone.patch_embedding(model.visual_encoder.normalise(video))
    hidden = backbone.blocks(patches + backbone.pos_embedding.emb[:, : patches.shape[1]])

    audio_tokens = F.pad(tokens.mT, (0, all_patches - count), mode="replicate").mT
    logit = model.audio_head(feature).squeeze(-1)
    encoded = Encoded(backbone.norm(hidden), backbone.norm(hidden.mean(dim=1)), audio_tokens, feature, logit)
    assert model.predictor is not None, "video is predicted from audio"
    predictor = model.predictor
    try:
        model.predictor = Prefix(predictor, backbone.tokens)
        out = model.compare_and_fuse(encoded)
    finally:
        model.predictor = predictor
    return {"audio": out.logit_audio, "visual": out.logit_a2v, "fused": out.logit_final}


class Prefix(VisualPredictor):
    """The predictor of the first of a window's `tokens` visual tokens, from nothing later."""

    def __init__(self, predictor: VisualPredictor, tokens: int) -> None:
        nn.Module.__init__(self)
        self.encoder, self.head, self.tokens = predictor.encoder, predictor.head, tokens

    def forward(self, audio_tokens: Tensor, anchor: Tensor, length: int) -> Tensor:
        audio = F.interpolate(audio_tokens.mT, size=self.tokens, mode="linear").mT[:, :length]
        return self.head(self.encoder(torch.cat([anchor[:, None], audio], dim=1))[:, 1:])


if __name__ == "__main__":
    main()
