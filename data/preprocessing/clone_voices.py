"""Voice-cloned hard samples: every real clip with its own voice (RVFA-SVC) and from another recording (RVFA-VC).

    python data/preprocessing/clone_voices.py --config config/clone_voices.json --input=/data/FakeAVCeleb_v1.2
    python data/preprocessing/clone_voices.py --shard 2/4         the third of four shards

Of several candidates per clip, the hardest that passes is kept; the audio of real clips and clones passes one chain.
clones.jsonl has the scores of all candidates; problems.csv lists the clones that could not be made and the reasons. A
second run does what is missing, and retries what the back end failed at. Exit code 1 if there are too many problems.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.config import CloneConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.clips import Clip
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import write_csv
from avdfd.core.journal import Record
from avdfd.core.progress import Bar
from avdfd.core.shards import parse_shard
from avdfd.core.workers import Failure, count_or_cores, run_killable
from avdfd.corpora.cloning.backends import check_backend, processes
from avdfd.corpora.cloning.clips import SINGLE, Job, Made, embed_recording, make_clip
from avdfd.corpora.cloning.naturalness import open_naturalness
from avdfd.corpora.cloning.output import Output
from avdfd.corpora.cloning.recordings import (
    Recording,
    digest,
    mean_vector,
    real_clips,
    recordings_of,
    references,
    stamp,
)
from avdfd.corpora.cloning.scores import check_recogniser
from avdfd.corpora.cloning.speaker import open_encoder
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, as_rows, summary

Recordings = dict[str, list[Recording]]
"""Identity -> its recordings."""


def main(argv: list[str]) -> int:
    cli = Parser(description="Makes voice-cloned hard samples.")
    cli.add_argument("--config", default="config/clone_voices.json")
    cli.add_argument("--shard", default="0/1", metavar="I/N", help="shard I of N, from 0 on")
    args, overrides = cli.parse_known_args(argv)
    cfg, shard = load(args.config, CloneConfig, overrides=overrides), parse_shard(args.shard)
    check_backend(cfg.backend)
    check_recogniser(cfg.scores)
    open_encoder(cfg.encoder)  # missing weights are reported before the work starts
    open_naturalness()
    started = time.monotonic()
    clips, aside = real_clips(Path(cfg.input))
    recordings = recordings_of(clips, Path(cfg.recordings) if cfg.recordings else None)
    recordings = {identity: some for identity, some in recordings.items() if shard.takes(identity)}
    clips = [clip for clip in clips if clip.identities[0] in recordings]
    with Output(cfg, shard) as out:
        write_csv(out.root / LEFT_OUT, [COLUMNS, *as_rows(aside)])
        if aside:
            print(f"{out.root / LEFT_OUT}: {summary(aside)}")
        gone = out.keep_only([c.source for c in clips], [r.source for some in recordings.values() for r in some])
        if gone:
            print(f"{cfg.output}: {gone} clips are gone from {cfg.input}, and their clones with them")
        embed_all(out, recordings, cfg)
        jobs = [job for job in plan(out, clips, recordings, cfg) if not out.is_done(job.source, job.inputs)]
        clone_all(out, jobs, cfg)
        return report(out, clips, len(jobs), time.monotonic() - started)


def embed_all(out: Output, recordings: Recordings, cfg: CloneConfig) -> None:
    """Compute the speaker embedding of every recording that is new or changed."""
    known = out.voices
    todo = [
        recording
        for some in recordings.values()
        for recording in some
        if known.get(recording.source, {}).get("stamp") != stamp(recording.path) or known[recording.source].get("again")
    ]
    workers = min(count_or_cores(cfg.workers), len(todo))
    results = run_killable(partial(embed_recording, cfg=cfg), todo, workers=workers, time_limit=cfg.time_limit)
    with contextlib.closing(results), Bar(total=len(todo), desc="voices", unit="file") as bar:
        for recording, result in results:
            if isinstance(result, Failure):
                reason = {"reason": result.reason, "again": result.killed}
                out.voices.add({"source": recording.source, "stamp": stamp(recording.path), **reason})
            else:
                out.voices.add(result)
            bar.update()


def plan(out: Output, clips: list[Clip], recordings: Recordings, cfg: CloneConfig) -> Iterator[Job]:
    """Yield the clips to be cloned, with their reference recordings; clips that cannot be read are left out."""
    by_identity: dict[str, list[Clip]] = {}
    for clip in clips:
        by_identity.setdefault(clip.identities[0], []).append(clip)
    for identity, own in recordings.items():
        paths = dict(own)
        voices = [out.voices[recording.source] for recording in own]
        voices = [voice for voice in voices if "reason" not in voice]
        inputs = digest(own)
        for clip in by_identity[identity]:
            voice = out.voices[clip.source]
            if "reason" not in voice:
                best = [Recording(r["source"], paths[r["source"]]) for r in references(voice, voices, cfg.references)]
                yield Job(clip.source, clip.path, inputs, mean_vector(voices), tuple(best))


def clone_all(out: Output, jobs: list[Job], cfg: CloneConfig) -> None:
    """Make the clips. Raises UserError if the back end fails at all of the first clips."""
    workers = min(processes(cfg.backend, cfg.workers), len(jobs))
    load_limit = cfg.backend.load_limit if cfg.backend.kind == "seed-vc" else 0.0
    limit = load_limit + 2 * cfg.time_limit * (1 + cfg.candidates * len(cfg.tiers))  # for a process that hangs
    results = run_killable(partial(make_clip, cfg=cfg, spool=out.spool), jobs, workers=workers, time_limit=limit)
    alive = any(is_scored(record) for record in out.clips.values())
    failed: list[str] = []
    with contextlib.closing(results), Bar(total=len(jobs), desc="clones", unit="clip") as bar:
        for job, result in results:
            if isinstance(result, Failure):
                record = {"source": job.source, "inputs": job.inputs, "files": {}, "clones": []}
                result = Made({**record, "reason": result.reason, "again": result.killed}, {})
            out.add(result)
            bar.update()
            alive |= is_scored(result.record)
            if result.record["again"]:
                lines = [line["reason"] for line in result.record["clones"] if line["reason"]]
                failed.append(result.record.get("reason") or lines[-1])
            if not alive and len(failed) >= min(cfg.give_up, len(jobs)):
                raise UserError(
                    f"backend {cfg.backend.kind}: none of the first {len(failed)} clips could be converted "
                    f"({failed[0]}); no clone was made; see {out.root / 'problems.csv'}"
                )


def is_scored(record: Record) -> bool:
    """Return True if a conversion of a clip was scored."""
    return any("scores" in candidate for line in record["clones"] for candidate in line["candidates"])


def report(out: Output, clips: list[Clip], made_now: int, seconds: float) -> int:
    """Print the summary; return the exit code."""
    lines = [line for record in out.clips.values() for line in record["clones"]]
    kept = [line for line in lines if line["file"]]
    single = sum(line["reason"] == SINGLE for line in lines)
    wanted = len(clips) * len(out.cfg.tiers)
    bad = wanted - single - len(kept)
    rate = f", {60 * made_now / seconds:.1f} clips a minute" if made_now else ""
    print(f"{out.root}, shard {out.shard}: {len(clips)} real clips, {len(kept)} clones, {seconds:.0f} s{rate}")
    for tier, count in sorted(Counter(line["tier"] for line in kept).items()):
        scores = [line["scores"] for line in kept if line["tier"] == tier]
        similarity, naturalness = (np.mean([s[key] for s in scores]) for key in ("similarity", "naturalness"))
        print(f"  {tier}: {count} kept, similarity {similarity:.3f}, naturalness {naturalness:.2f}")
    if single:
        print(f"  {single} without RVFA-VC: {SINGLE}; `recordings` names a root with more")
    if bad:
        print(f"  {bad} clones could not be made; {out.root / 'problems.csv'} lists the reasons")
    if bad <= out.cfg.max_problems * wanted:
        return 0
    print(
        f"error: {bad} of {wanted} clones could not be made, more than max_problems = {out.cfg.max_problems:g}; "
        f"see {out.root / 'problems.csv'}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    run_script(main)
