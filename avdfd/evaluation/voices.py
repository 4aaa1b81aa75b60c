"""Voices in the embedding of stage 1: their distance from the prototype of real speech, and a map of them.

    N clips   P width of the embedding

Stage 1 learns to place the classes RVRA, RVFA-SVC, RVFA-VC and RVFA at increasing distance from the prototype
(`avdfd.models.losses.ordinal_ring`). Stage 2 keeps only its encoder; projection and prototype stay in stage 1's run.

Every tier is measured separately. The order is that of the four classes. Of the tiers with fake video, FVRA has real
audio and belongs with RVRA, FVFA with the tier of its fake audio.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avdfd.config import PretrainConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.core.tiers import AUDIO_ORDER, RVRA, TIERS
from avdfd.evaluation.grouped_metrics import DOTS, dots
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.inference.runs import Run, trained_under
from avdfd.metrics import bootstrap
from avdfd.metrics.roc import Floats
from avdfd.models.audio_encoder import AudioNet
from avdfd.training.build import load_audio_net


class Placing(NamedTuple):
    """A system whose runs also return the embedding of stage 1."""

    runs: list[Run]
    """Their scores include `embedding` and `distance`; unchanged if stage 1 is not available."""
    about: dict[str, Any] | None
    """For report.json: `stage1`, its `margin` (None without the ordinal loss) and its training tiers; or, under
    `missing`, why it is not available. None for a system without this audio branch."""
    prototype: np.ndarray | None = None
    """(P,) of the first run."""


class _Tier(NamedTuple):
    """The clips of one tier."""

    distance: Floats
    """(N,)"""
    identity: np.ndarray
    """(N,)"""


def placing(runs: list[Run]) -> Placing:
    """Return the runs of a system with their stage 1, which is found if its run is where the config says."""
    if runs[0].audio_branch is None:
        return Placing(runs, None)
    try:
        found = [_stage1_of(run) for run in runs]
    except UserError as error:
        return Placing(runs, {"missing": str(error)})
    config = found[0][1]
    about = {
        "stage1": [str(run.config.audio if isinstance(run.config, TrainConfig) else run.folder) for run in runs],
        "margin": config.loss.margin if config.loss.ordinal else None,
        "trained_tiers": [name for name in AUDIO_ORDER if name in {RVRA.name, *config.data.fake_tiers}],
    }
    nets = [net for net, _ in found]
    placed = [replace(run, columns=partial(_place, run.columns, net)) for run, net in zip(runs, nets, strict=True)]
    return Placing(placed, about, nets[0].prototype.detach().float().cpu().numpy())


def _stage1_of(run: Run) -> tuple[AudioNet, PretrainConfig]:
    """Return stage 1 of a run. Raises UserError with the reason if it is not available."""
    config = trained_under(run)[-1]
    if isinstance(run.config, TrainConfig):
        path = run.config.audio
        if run.config.audio_lr_scale:
            raise UserError(f"{run.folder}: its audio branch was trained on in stage 2; the embedding is stage 1's")
        if not isinstance(config, PretrainConfig):
            raise UserError(f"{path}: stage 1 of {run.folder} is missing; projection and prototype are in that run")
        net = load_audio_net(path)[0].to(run.device).eval()
        assert run.audio_branch is not None, "a detector has one"
        ours, theirs = run.audio_branch[0].state_dict(), net.encoder.state_dict()
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
            raise UserError(f"{path}: has another encoder than {run.folder}: it was trained again since")
    else:
        assert isinstance(run.model, AudioNet), "stage 1"
        assert isinstance(config, PretrainConfig), "stage 1"
        net = run.model
    if not config.loss.ordinal and not config.loss.supcon:
        raise UserError("stage 1 was trained without contrastive and ordinal loss, so its embedding is untrained")
    return net, config


def _place(columns: Callable[[Any], dict[str, Tensor]], net: AudioNet, batch: Any) -> dict[str, Tensor]:
    patches = net.encoder.front(batch.mel)  # shared with the run, and the slowest part
    z = net(patches).z.float()
    shared = batch._replace(cached=patches) if batch.shape is None else batch  # a consistency branch takes the mel
    return columns(shared) | {
        "embedding": z,
        "distance": torch.linalg.vector_norm(z - net.prototype.float(), dim=1),
    }


def summarise(clips: ScoredClips, placed: Placing, *, replicates: int, seed: int) -> dict[str, Any] | None:
    """Return the `voices` of report.json: `Placing.about`, a map and, with the ordinal loss, distances."""
    about = placed.about
    if about is None or "missing" in about:
        return about
    assert clips.embedding is not None, "placed runs have it"
    if about["margin"] is None:
        return about | {"map": plane(clips.tier, clips.embedding, None)}
    return about | {
        "map": plane(clips.tier, clips.embedding, placed.prototype),
        **distances(clips, replicates=replicates, seed=seed),
    }


def distances(clips: ScoredClips, *, replicates: int, seed: int) -> dict[str, Any]:
    """Return the distances to the prototype; a clip's distance is the mean over its windows and runs.

    `tiers`    mean of each tier, and its difference `beyond` RVRA, with intervals over identities
    `steps`    for each tier of AUDIO_ORDER, how much further away it is than the tier before
    `ordered`  True if all steps are positive; None without steps
    """
    assert clips.distance is not None, "placed runs have it"
    there = [name for name in dict.fromkeys([*AUDIO_ORDER, *TIERS]) if (clips.tier == name).any()]
    of = {name: _Tier(clips.distance[clips.tier == name], clips.identity[clips.tier == name]) for name in there}
    drawn = {"replicates": replicates, "seed": seed}
    tiers = {
        name: {
            "clips": len(one.distance),
            "identities": len(set(one.identity)),
            **_typical(one, **drawn),
            "beyond": _apart(of[RVRA.name], one, **drawn) if name != RVRA.name else None,
            "values": dots(one.distance),
        }
        for name, one in of.items()
    }
    classes = [name for name in AUDIO_ORDER if name in of]
    steps = [{"near": a, "far": b, **_apart(of[a], of[b], **drawn)} for a, b in pairwise(classes)]
    return {"tiers": tiers, "steps": steps, "ordered": all(s["difference"] > 0 for s in steps) if steps else None}


def _typical(tier: _Tier, **drawn: int) -> dict[str, Any]:
    """Return the mean distance with its interval."""
    found = bootstrap.measure(lambda w, _: {"distance": _mean(tier.distance, w)}, None, tier.identity, **drawn)
    return {name: found[name] for name in ("distance", "distance_interval")}


def _apart(near: _Tier, far: _Tier, **drawn: int) -> dict[str, Any]:
    """Return how much further away the second tier is, with its interval."""
    outer = np.repeat([0, 1], [len(near.distance), len(far.distance)])

    def difference(weights: Floats | None, _: int) -> dict[str, Any]:
        of_near, of_far = (None, None) if weights is None else (weights[:, outer == 0], weights[:, outer == 1])
        return {"difference": _mean(far.distance, of_far) - _mean(near.distance, of_near)}

    found = bootstrap.measure(difference, outer, np.concatenate([near.identity, far.identity]), **drawn)
    return {"difference": found["difference"], "interval": found["difference_interval"]}


def _mean(values: Floats, weights: Floats | None) -> Any:
    """Return the mean of values (N,); with weights (R, N), the weighted mean of each replicate (R,)."""
    return values.mean() if weights is None else weights @ values / weights.sum(axis=1)


def plane(tier: np.ndarray, embedding: Floats, prototype: np.ndarray | None) -> dict[str, Any] | None:
    """Project embeddings (N, P) and the prototype (P,) on their first two principal components.

    `explained` is the fraction of the variance that each component explains, `tiers` the points of clips, thinned to
    what a figure can show. None if the embeddings span no plane. The embeddings are those of the first run, because
    different runs have different embedding spaces.
    """
    from sklearn.decomposition import PCA  # here, as few evaluations need it and it takes long

    spread = np.ptp(embedding, axis=0)
    if min(embedding.shape) < 2 or not spread.any():
        return None
    pca = PCA(2, svd_solver="covariance_eigh").fit(embedding)
    points = pca.transform(embedding).round(6)
    tiers = {}
    for name in TIERS:
        mine = points[tier == name]
        if len(mine):
            tiers[name] = mine[np.unique(np.linspace(0, len(mine) - 1, min(len(mine), DOTS)).astype(int))].tolist()
    return {
        "explained": pca.explained_variance_ratio_.tolist(),
        "prototype": None if prototype is None else pca.transform(prototype[None])[0].round(6).tolist(),
        "tiers": tiers,
    }
