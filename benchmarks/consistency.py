"""Consistency of audio and mouth on real clips: does the score notice a stranger's audio, and audio that is late?

    .venv/bin/python benchmarks/consistency.py --clips ../shared/clips/manifest.csv --cache data/landmarks

The table has the columns file, kind (real or fake), identity and, for fakes, fake_method; a source is what precedes the
first hyphen of an identity. The model is fitted on the real clips of four fifths of the identities, and judged on the
others; strangers are other identities of the same source and fold. Windows are of 3 s, a second apart, or as long as
the clip allows; nothing outside a window is used but, at its edges, 0.24 s of the side that is predicted from. AUC with
95 % intervals over identities: of windows with their own audio against windows

    stranger     with a stranger's audio, from any time of it
    late 400     with the audio 400 ms earlier or later in the clip, not circular
    late 200     200 ms

Every clip counts once, or (`windows`) every window. `--rounds 0` leaves the offsets of training clips as they are.
`--direction v2a` predicts the audio from the mouth, `symmetric` both, and compares the tokens of both. `--fakes` adds
the AUC of fakes by method, whole clips, "less in sync"; they train nothing. With `--judged`, the clips of another table
are judged; identities of both tables are not trained on.
"""

import argparse
import csv
import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor

from avdfd.core.errors import MediaError, UserError, run_script
from avdfd.core.progress import Bar
from avdfd.core.seeding import generator_of
from avdfd.features.mel import log_mel
from avdfd.features.mouth_shape import USED, mouth_shape
from avdfd.media.landmarks import read_face
from avdfd.metrics import bootstrap, roc
from avdfd.models.consistency import CONTEXT, Consistency, Direction
from avdfd.training.consistency import Talk, fit

FOLDS = 5
WINDOW = 75
STEP = 25
SHIFTS = (10, 5)
STRANGERS = 6
SHORTEST = 25


class Clip(NamedTuple):
    """Clip with a face."""

    name: str
    method: str
    source: str
    talk: Talk


class Pair(NamedTuple):
    """Window of a clip's video with a window of some clip's audio."""

    kind: str
    video: int
    start: int
    length: int
    audio: int
    audio_start: int


def main(argv: list[str]) -> int:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--clips", required=True, help="table of clips, beside their files")
    cli.add_argument("--judged", help="table of other clips: the model is fitted on all of --clips and judged on these")
    cli.add_argument("--cache", required=True, help="folder for the landmarks and audio of the clips")
    cli.add_argument("--seeds", type=int, default=3, help="draws of the folds, strangers and groups")
    cli.add_argument("--tokens", type=int, default=6, help="of each direction")
    cli.add_argument("--direction", default="a2v", choices=get_args(Direction))
    cli.add_argument("--rounds", type=int, default=2, help="estimates of the offsets of training clips")
    cli.add_argument("--fakes", action="store_true")
    cli.add_argument("--bootstrap", type=int, default=1000)
    args = cli.parse_args(argv)
    torch.set_num_threads(1)
    clips = read_clips(Path(args.clips), Path(args.cache), "real")
    seconds = sum(len(clip.talk.shape) for clip in clips) / 25
    print(f"{len(clips)} real clips with a face and audio, {seconds / 60:.1f} min")
    judged = read_clips(Path(args.judged), Path(args.cache), "real") if args.judged else clips
    fakes = read_clips(Path(args.judged or args.clips), Path(args.cache), "fake") if args.fakes else []
    scores: dict[str, list[float]] = defaultdict(list)
    for seed in range(args.seeds):
        began = time.process_time()
        if args.judged:
            fold = dict.fromkeys((clip.talk.identity for clip in judged), 0)
            trained = [[clip.talk for clip in clips if clip.talk.identity not in fold]]
        else:
            fold = folds_of(clips, seed)
            trained = [[clip.talk for clip in clips if fold[clip.talk.identity] != k] for k in range(FOLDS)]
        models = [
            fit(talks, tokens=args.tokens, rounds=args.rounds, seed=seed, direction=args.direction) for talks in trained
        ]
        print(f"seed {seed}: {(time.process_time() - began) / len(models):.1f} s of a core per training")
        pairs = pairs_of(judged, fold, seed)
        report(judged, pairs, judge(judged, pairs, fold, models), args.bootstrap, scores)
        if fakes:
            report_fakes(judged, fakes, fold, models)
    for name, values in scores.items():
        print(f"{name}: mean of {len(values)} seeds {np.mean(values):.3f}")
    return 0


def read_clips(table: Path, cache: Path, kind: str) -> list[Clip]:
    """Return the clips of one kind that have a face and audio; the others are listed."""
    try:
        rows = [row for row in csv.DictReader(table.read_text().splitlines()) if row["kind"] == kind]
    except (OSError, KeyError) as error:
        raise UserError(f"{table}: no table with the columns file, kind and identity") from error
    cache.mkdir(parents=True, exist_ok=True)
    clips = []
    for row in Bar(rows, desc=kind):
        path = table.parent / row["file"]
        try:
            landmarks, audio = _face(path, cache)
        except MediaError as error:
            print(f"left out: {row['file']}: {error}")
            continue
        if len(landmarks) < SHORTEST:
            print(f"left out: {row['file']}: shorter than a second")
            continue
        talk = Talk(
            log_mel(torch.from_numpy(audio)), torch.from_numpy(mouth_shape(landmarks[:, USED])), row["identity"]
        )
        clips.append(Clip(row["file"], row.get("fake_method", ""), row["identity"].split("-")[0], talk))
    return clips


def _face(path: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    kept = cache / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.npz"
    if not kept.exists():
        face = read_face(path)
        np.savez(kept, landmarks=face.landmarks, audio=face.audio)
    with np.load(kept) as arrays:
        return arrays["landmarks"], arrays["audio"]


def folds_of(clips: Sequence[Clip], seed: int) -> dict[str, int]:
    """Deal identities to folds of equal time. Identities of a source stay in pairs or more, to have strangers."""
    rng = generator_of(f"folds {seed}")
    members: dict[str, set[str]] = defaultdict(set)
    frames: dict[str, int] = defaultdict(int)
    for clip in clips:
        members[clip.source].add(clip.talk.identity)
        frames[clip.talk.identity] += len(clip.talk.shape)
    units: list[list[str]] = []
    for _, identities in sorted(members.items()):
        shuffled = [str(name) for name in rng.permutation(sorted(identities))]
        parts = min(FOLDS, max(1, len(shuffled) // 2))
        units += [shuffled[i::parts] for i in range(parts)]
    units = [units[i] for i in rng.permutation(len(units))]
    fold, load = {}, [0] * FOLDS
    for unit in sorted(units, key=lambda unit: -sum(frames[name] for name in unit)):
        least = int(np.argmin(load))
        load[least] += sum(frames[name] for name in unit)
        fold.update(dict.fromkeys(unit, least))
    return fold


def pairs_of(clips: Sequence[Clip], fold: dict[str, int], seed: int) -> list[Pair]:
    rng = generator_of(f"strangers {seed}")
    pairs = []
    for i, clip in enumerate(clips):
        frames, own = len(clip.talk.shape), clip.talk.identity
        length = min(WINDOW, frames)
        others = [
            j
            for j, other in enumerate(clips)
            if other.talk.identity != own
            and other.source == clip.source
            and fold[other.talk.identity] == fold[own]
            and len(other.talk.shape) >= length
        ]
        for start in range(0, frames - length + 1, STEP) if others else ():
            pairs.append(Pair("own of stranger", i, start, length, i, start))
            for j in rng.choice(others, STRANGERS).tolist():
                moved = int(rng.integers(len(clips[j].talk.shape) - length + 1))
                pairs.append(Pair("stranger", i, start, length, j, moved))
        for shift in SHIFTS:
            length = min(WINDOW, frames - 2 * shift)
            for start in range(shift, frames - length - shift + 1, STEP) if length >= SHORTEST else ():
                pairs.append(Pair(f"own of late {40 * shift}", i, start, length, i, start))
                pairs += [Pair(f"late {40 * shift}", i, start, length, i, start + s) for s in (shift, -shift)]
    return pairs


def _audio_tokens(model: Consistency, talk: Talk) -> Tensor:
    """Return the tokens (1, T, K) of the audio of a whole clip: of each direction, predicted or actual."""
    made = {"a2v": model.predict, "v2a": model.audio_targets}
    return torch.cat([made[way](talk.mel[None]) for way in model.directions], dim=-1)


def _mouth_tokens(model: Consistency, talk: Talk, pair: Pair) -> Tensor:
    """Return the tokens (1, T, K) of the mouth of a window: of each direction, actual or predicted."""
    before = min(pair.start, CONTEXT // 2)
    last = pair.start + pair.length
    made = {
        "a2v": lambda: model.targets(talk.shape[None, pair.start : last]),
        "v2a": lambda: model.predict_audio(talk.shape[None, pair.start - before : last + CONTEXT // 2])[:, before:],
    }
    return torch.cat([made[way]()[:, : pair.length] for way in model.directions], dim=-1)


@torch.inference_mode()
def judge(
    clips: Sequence[Clip], pairs: Sequence[Pair], fold: dict[str, int], models: Sequence[Consistency]
) -> np.ndarray:
    """Return the log-ratio of each pair, by the model that was not trained on its identities."""
    scores = []
    audio = [_audio_tokens(models[fold[clip.talk.identity]], clip.talk) for clip in clips]
    for pair in Bar(pairs, desc="windows"):
        video = clips[pair.video].talk
        model = models[fold[video.identity]]
        said = audio[pair.audio][:, pair.audio_start : pair.audio_start + pair.length]
        scores.append(float(model.compare(said, _mouth_tokens(model, video, pair)).log_ratio))
    return np.array(scores)


def auc_of(
    labels: np.ndarray, scores: np.ndarray, counted: np.ndarray, identities: Sequence[str], replicates: int
) -> tuple[float, tuple[float, float]]:
    """Return the AUC of scores that count so much each, and its interval over identities."""

    def area(weights: np.ndarray | None, run: int) -> dict[str, Any]:
        return {"auc": roc.area(roc.roc(labels, scores, counted if weights is None else counted * weights))}

    found = bootstrap.measure(area, labels, identities, replicates=replicates)
    return found["auc"], found["auc_interval"] or (np.nan, np.nan)


def report(
    clips: Sequence[Clip], pairs: Sequence[Pair], judged: np.ndarray, replicates: int, means: dict[str, list[float]]
) -> None:
    kinds = np.array([pair.kind for pair in pairs])
    for kind in ("stranger", *(f"late {40 * shift}" for shift in SHIFTS)):
        chosen = np.flatnonzero((kinds == kind) | (kinds == f"own of {kind}"))
        videos = np.array([pairs[i].video for i in chosen.tolist()])
        labels = (kinds[chosen] == kind).astype(int)
        _, member, number = np.unique(2 * videos + labels, return_inverse=True, return_counts=True)
        once = 1 / number[member]
        identities = [clips[v].talk.identity for v in videos]
        for name, base in (("clips", once), ("windows", np.ones(len(chosen)))):
            value, (low, high) = auc_of(labels, -judged[chosen], base, identities, replicates)
            print(f"  {kind:10} {name:8} AUC {value:.3f} [{low:.3f}, {high:.3f}]")
            means[f"{kind}, {name}"].append(value)


def report_fakes(
    clips: Sequence[Clip], fakes: Sequence[Clip], fold: dict[str, int], models: Sequence[Consistency]
) -> None:
    """Print the AUC of "less in sync" by method, of whole clips, and of their length alone."""

    @torch.inference_mode()
    def score(clip: Clip) -> float:
        model = models[fold.get(clip.talk.identity, 0)]
        return float(model(clip.talk.mel[None], clip.talk.shape[None]).log_ratio)

    real, lengths = np.array([score(clip) for clip in clips]), np.array([len(clip.talk.shape) for clip in clips])
    by_method: dict[str, list[Clip]] = defaultdict(list)
    for clip in fakes:
        by_method[clip.method.split(" (")[0]].append(clip)
    for method, members in sorted(by_method.items()):
        if len(members) >= 2:
            labels = np.repeat([0, 1], [len(real), len(members)])
            value = roc.auc(labels, -np.append(real, [score(clip) for clip in members]))
            by_length = roc.auc(labels, -np.append(lengths, [len(clip.talk.shape) for clip in members]))
            print(f"  {method:40} {len(members):3} AUC {value:.3f}, of shorter clips {by_length:.3f}")


if __name__ == "__main__":
    run_script(main)
