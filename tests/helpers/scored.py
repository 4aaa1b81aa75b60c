"""Synthetic scored clips, and the report.json of them."""

from dataclasses import replace
from typing import Any

import numpy as np

from avdfd.evaluation.grouped_metrics import fit_on_validation, grouped_metrics
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.evaluation.voices import Placing, summarise

BRANCHES = ("audio", "visual", "fused")
THREE = ("audio", "consistency", "picture", "fused")
TIERS = {"RVRA": (0, 0), "RVFA": (0, 1), "FVRA": (1, 0), "RVFA-SVC": (0, 1)}
"""Tier -> labels of its video and audio (1 = fake)."""


def made_up_clips(branches=BRANCHES, identities=6, seed=0, runs=1) -> ScoredClips:
    """Return two clips per identity and tier; each branch detects its own modality, with noise."""
    rng = np.random.default_rng(seed)
    tier = np.repeat(np.array(list(TIERS), object), 2 * identities)
    video, audio = np.array([TIERS[name] for name in tier]).T
    identity = np.tile(np.repeat(np.arange(identities), 2), len(TIERS))
    seen = {"audio": 2 * audio, "visual": 2 * video, "fused": audio + video}
    seen |= {"consistency": 2 * video, "picture": 0 * video}
    count = len(tier)
    scores = {name: 1 / (1 + np.exp(-rng.normal(seen.get(name, seen["fused"]), 1, (runs, count)))) for name in branches}
    weight = rng.random(count)
    shares = {1: [], 3: [weight, 1 - weight], 4: [weight, (1 - weight) * 0.7, (1 - weight) * 0.3]}
    own = [name for name in branches if name in (*BRANCHES, *THREE)]
    weights = dict(zip(own, shares.get(len(own), []), strict=False))
    sync = 3 - 2 * video + rng.normal(0, 1, count) if "consistency" in branches else None
    facts = {
        "source": [f"{t}/id{p}/{n % 2}.mp4" for n, (t, p) in enumerate(zip(tier, identity, strict=True))],
        "tier": tier,
        "identities": [f"id{p}" for p in identity],
        "method": ["" if t == "RVRA" else f"{t.lower()}-maker" for t in tier],
        "race": [("African", "Asian")[p % 2] for p in identity],
        "gender": [("men", "women")[p // 2 % 2] for p in identity],
    }
    return ScoredClips(
        {name: np.array(values, object) for name, values in facts.items()},
        label=((video + audio) > 0).astype(np.int64),
        windows=np.full(count, 2),
        short=np.zeros(count, bool),
        scores=scores,
        weights=weights,
        log_ratio=sync,
        lag=None if sync is None else 40.0 * video,
        discrepancy=weight if "visual" in branches else None,
    )


def made_up_result(clips: ScoredClips | None = None, fitted: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the content of report.json; `fitted` True: with thresholds fitted on other clips."""
    clips = clips or made_up_clips()
    names = list(clips.scores)
    own = tuple(name for name in names if name in (*BRANCHES, *THREE))
    seeds = len(clips.scores[own[-1]])
    runs = [{"folder": f"runs/x{seed}", "seed": seed, "checkpoint_sha256": "00" * 32} for seed in range(seeds)]
    trained = [tier for tier in TIERS if tier != "RVRA"]
    if fitted is True:
        fitted = fit_on_validation(made_up_clips(tuple(names), 8, seed=9, runs=seeds), dict.fromkeys(names, trained))
    protocol: dict[str, Any] = {"name": "cross-manipulation", "lists": "data/splits/x", "lists_protocol": None}
    protocol |= {"left_out": None, "trained_tiers": ["RVFA"], "judged_tiers": trained}
    protocol |= {"new_tiers": ["FVRA"], "new_kinds": ["FVRA <wav2lip>"], "people": {"train": 4, "validation": 2}}
    about: dict[str, Any] = {"run": "runs/x", "kind": "train", "runs": runs, "protocol": protocol, "split": "test"}
    about |= {"elements": "data/x", "pooling": {"windows": "mean", "domain": "probability"}, "git": "abc"}
    about |= {"against": {name: {"kind": "mrdf", "runs": runs[:1], "protocol": protocol} for name in names[len(own) :]}}
    about |= {"device": "cpu", "bootstrap": 50, "seed": 0, "config": {"name": "<script>alert(1)</script>"}}
    judged = grouped_metrics(clips, own[-1], own, fitted or {}, windows=clips, replicates=50, seed=0)
    return about | {"fitted": fitted or {}} | judged | changes


def made_up_voices(clips: ScoredClips) -> dict[str, Any] | None:
    """Return the `voices` of report.json for these clips: fake audio is further from the prototype than real audio."""
    rng = np.random.default_rng(0)
    embedding = rng.normal(0, 0.1, (len(clips), 8))
    embedding[:, 0] += [TIERS[name][1] for name in clips.tier]
    about = {"stage1": ["runs/x-audio"], "margin": 0.2, "trained_tiers": ["RVRA", "RVFA"]}
    placed = replace(clips, embedding=embedding, distance=np.linalg.norm(embedding, axis=1))
    return summarise(placed, Placing([], about, np.zeros(8)), replicates=50, seed=0)
