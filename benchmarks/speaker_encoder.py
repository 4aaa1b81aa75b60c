"""Separation of speakers by a speaker encoder: equal error rate of same- against different-speaker pairs.

    python benchmarks/speaker_encoder.py [--speech FOLDER] [--ecapa FOLDER]

The folder has manifest.csv (file, label, speaker, pair_id, source_repo); its bonafide rows are used. Recordings of one
utterance (by pair_id or audio fingerprint) form no pair. "Within a page" pairs share the site they were published on,
so that microphones and codecs cannot help; a name that is specific to its page forms no pair across pages.
Intervals are 95 % by bootstrap over speakers.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import EcapaConfig, Ge2eConfig
from avdfd.core.text import read_csv
from avdfd.corpora.cloning.speaker import open_encoder
from avdfd.corpora.duplicates import SOUND_BITS, distance
from avdfd.media.audio import read_waveform
from avdfd.media.fingerprints import audio_hash
from avdfd.metrics.roc import eer

REPLICATES = 300
LOCAL_NAME = re.compile(r"s2vc-|CMUArctic-speaker|.*\(.*-demo\)")


def main() -> None:
    cli = argparse.ArgumentParser(description="Equal error rate of a speaker encoder.")
    cli.add_argument("--speech", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "speech")
    cli.add_argument("--ecapa", help="folder of the ECAPA encoder, in place of the default one")
    args = cli.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    rows = [row for _, row in read_csv(args.speech / "manifest.csv").rows if row["label"] == "bonafide"]
    recordings = [read_waveform(args.speech / row["file"]) for row in rows]
    embed = open_encoder(EcapaConfig(folder=args.ecapa) if args.ecapa else Ge2eConfig())
    started = time.process_time()
    vectors = np.stack([embed(recording) for recording in recordings])
    seconds = time.process_time() - started
    speakers = np.array([row["speaker"] for row in rows])
    print(
        f"{len(rows)} recordings of {len(set(speakers))} speakers; "
        f"{1e3 * seconds / len(rows):.0f} ms per recording, one core\n\n"
        "pairs                              same  different       EER"
    )
    first, second = usable_pairs(rows, [audio_hash(recording) for recording in recordings])
    pages = np.array([row["source_repo"] for row in rows])
    inside = pages[first] == pages[second]
    show("all", vectors, speakers, first, second)
    show("within a page", vectors, speakers, first[inside], second[inside])
    for page in np.unique(pages):
        there = inside & (pages[first] == page)
        if (speakers[first[there]] == speakers[second[there]]).sum() >= 100:
            show(f"  {page}", vectors, speakers, first[there], second[there])


def usable_pairs(rows: list[dict[str, str]], hashes: list[bytes | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all pairs whose label is certain."""

    def usable(a: int, b: int) -> bool:
        one, other = rows[a], rows[b]
        if one["speaker"] != other["speaker"]:
            local = LOCAL_NAME.match(one["speaker"]) or LOCAL_NAME.match(other["speaker"])
            return not local or one["source_repo"] == other["source_repo"]
        if one["pair_id"] and one["pair_id"] == other["pair_id"]:
            return False
        x, y = hashes[a], hashes[b]
        return x is not None and y is not None and distance(x, y) > SOUND_BITS

    pairs = [(a, b) for a in range(len(rows)) for b in range(a + 1, len(rows)) if usable(a, b)]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


def show(name: str, vectors: np.ndarray, speakers: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    same = (speakers[first] == speakers[second]).astype(int)
    scores = (vectors[first] * vectors[second]).sum(axis=1)
    _, number = np.unique(speakers, return_inverse=True)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(REPLICATES):
        times = np.bincount(rng.integers(number.max() + 1, size=number.max() + 1), minlength=number.max() + 1)
        # A speaker drawn twice has own pairs twice, and pairs with others in every combination.
        weights = np.where(same, times[number[first]], times[number[first]] * times[number[second]])
        if (weights @ same) and (weights @ (1 - same)):
            drawn.append(eer(same, scores, weights))
    low, high = np.quantile(drawn, [0.025, 0.975])
    print(
        f"{name:32s} {same.sum():6d} {(1 - same).sum():10d}   {100 * eer(same, scores):5.1f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}]",
        flush=True,
    )


if __name__ == "__main__":
    main()
