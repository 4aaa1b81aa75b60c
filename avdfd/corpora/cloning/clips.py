"""Cloning of one real clip: the clip and its clones, whose audio passes one chain. Runs in a worker process."""

import functools
import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch

from avdfd.config import ChainConfig, CloneConfig
from avdfd.core.journal import Record
from avdfd.core.tiers import RVFA_SVC, RVFA_VC, RVRA, Tier
from avdfd.corpora.cloning.backends import open_backend
from avdfd.corpora.cloning.recordings import Recording, voice_record
from avdfd.corpora.cloning.refine import Outcome, plans, refine
from avdfd.corpora.cloning.request import ConversionError, Convert
from avdfd.corpora.cloning.scores import Judge, SourceFacts
from avdfd.corpora.cloning.speaker import open_encoder
from avdfd.corpora.inventory import read_streams
from avdfd.features.window import FPS
from avdfd.media.audio import AudioPiece, join_pieces, read_audio, read_waveform
from avdfd.media.chain import common_edges_and_band, lay_out, measure_version, normalise_version
from avdfd.media.remux import replace_audio, video_end
from avdfd.media.streams import Reading

SINGLE = "no other recording of this person"  # outputs store it

_KINDS = {RVFA_VC: "vc", RVFA_SVC: "svc"}


class Job(NamedTuple):
    """A real clip to be cloned. `references` are the most similar other recordings of its identity, best first;
    `speaker` (D,) is the mean embedding of all its recordings."""

    source: str
    path: Path
    inputs: str
    speaker: np.ndarray
    references: tuple[Recording, ...]


class Made(NamedTuple):
    """Result of a clip: its record, and the files, by tier, that wait in the spool to be moved into place."""

    record: Record
    files: dict[str, Path]


def embed_recording(recording: Recording, cfg: CloneConfig) -> Record:
    """Return the record of a recording's voice. Raises MediaError."""
    _prepare_worker()
    return voice_record(recording, open_encoder(cfg.encoder))


def make_clip(job: Job, cfg: CloneConfig, spool: Path) -> Made:
    """Clone a clip. Raises MediaError if the clip or a reference cannot be read."""
    _prepare_worker()
    convert, judge = _tools(cfg, spool)
    reading = Reading()
    pieces = read_audio(job.path, reading=reading)
    begin, samples = pieces[0].start, join_pieces(pieces, max(piece.end for piece in pieces))
    tolerance = 1 / (read_streams(job.path).fps or FPS)
    versions, lines, again = {RVRA: samples}, [], False
    try:
        facts: SourceFacts | ConversionError = judge.source_facts(samples, job.speaker)
    except ConversionError as error:
        facts = error
    for tier in (tier for tier in _KINDS if tier.name in cfg.tiers):
        chosen = (Recording(job.source, job.path),) if tier is RVFA_SVC else job.references
        if isinstance(facts, ConversionError):
            outcome = Outcome(None, [], 1, f"the source cannot be scored: {facts}")
        elif not chosen:
            outcome = Outcome(None, [], 0, SINGLE)
        else:
            voices = {r.source: samples if r.source == job.source else read_waveform(r.path) for r in chosen}
            wanted = plans(cfg, tier.name, job.source, list(voices))
            outcome = refine(wanted, facts, voices, convert, judge, tolerance)
        if outcome.samples is not None:
            versions[tier] = outcome.samples
        lines.append(_line(job, tier, cfg, outcome, facts))
        again |= outcome.samples is None and outcome.failures > 0
    if cfg.raw:
        del versions[RVRA]
    files = _write(job, versions, begin, None if cfg.raw else cfg.chain, spool, reading)
    record = {
        "source": job.source,
        "inputs": job.inputs,
        "files": {tier.name: made_path(job.source, tier, cfg) for tier in versions},
        "clones": lines,
        "again": again,
    }
    return Made(record, files)


def made_path(source: str, tier: Tier, cfg: CloneConfig) -> str:
    """Return the path of the clip of a tier that is made from a real clip, relative to the output."""
    path = PurePosixPath(source)
    suffix = f"_{method(tier, cfg)}" if tier is not RVRA else ""
    return PurePosixPath(tier.folder, *path.parts[1:-1], f"{path.stem}{suffix}.mp4").as_posix()


def method(tier: Tier, cfg: CloneConfig) -> str:
    """Return the method that the clips of a tier are listed with."""
    return "real" if tier is RVRA else f"{cfg.backend.name}-{_KINDS[tier]}"


def _write(
    job: Job,
    versions: dict[Tier, np.ndarray],
    begin: float,
    chain: ChainConfig | None,
    spool: Path,
    reading: Reading,
) -> dict[str, Path]:
    """Write all versions of a recording into the spool. Their audio passes one chain, so that its format does not
    reveal how they were made; without a chain, it is unchanged."""
    name = hashlib.sha256(job.source.encode()).hexdigest()[:16]
    files = {tier.name: spool / f"{name}-{tier.name}.mp4" for tier in versions}
    if chain is None:
        for tier, samples in versions.items():
            replace_audio(job.path, samples, files[tier.name], None, reading)
        return files
    end = float(video_end(job.path))
    laid = {tier: lay_out([AudioPiece(begin, samples)], end, chain) for tier, samples in versions.items()}
    edges, band = common_edges_and_band([measure_version(samples, chain) for samples in laid.values()], chain)
    for tier, samples in laid.items():
        replace_audio(
            job.path, normalise_version(samples, edges, band, job.source, chain), files[tier.name], chain, reading
        )
    return files


def _line(
    job: Job, tier: Tier, cfg: CloneConfig, outcome: Outcome, facts: SourceFacts | ConversionError
) -> dict[str, Any]:
    """Return the line of clones.jsonl for a clip and tier."""
    kept = next((candidate for candidate in outcome.candidates if not candidate["reason"]), None)
    return {
        "source": job.source,
        "tier": tier.name,
        "method": method(tier, cfg),
        "file": made_path(job.source, tier, cfg) if kept else None,
        "reason": outcome.reason,
        "reference": kept["reference"] if kept else None,
        "scores": kept["scores"] if kept else None,
        "source_naturalness": None if isinstance(facts, ConversionError) else facts.naturalness,
        "candidates": outcome.candidates,
    }


@functools.cache
def _prepare_worker() -> None:
    """Set up a worker process, once: one thread, as there is a worker per core."""
    torch.set_num_threads(1)


_TOOLS: dict[Path, tuple[Convert, Judge]] = {}  # models are loaded once per process


def _tools(cfg: CloneConfig, spool: Path) -> tuple[Convert, Judge]:
    folder = spool / str(os.getpid())
    if folder not in _TOOLS:
        folder.mkdir(exist_ok=True)
        judge = Judge(cfg.scores, open_encoder(cfg.encoder), folder, cfg.time_limit)
        _TOOLS[folder] = open_backend(cfg.backend, folder, cfg.time_limit), judge
    return _TOOLS[folder]
