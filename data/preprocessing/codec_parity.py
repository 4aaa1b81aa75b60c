"""Passes the audio of all videos, real and fake, through one chain, so that no codec reveals a fake.

    python data/preprocessing/codec_parity.py --config config/codec_parity.json --input=videos --output=videos-parity
    python data/preprocessing/codec_parity.py --input=videos --output=videos-parity --shard 0/4

Video packets are copied. With `sound`, files without video are taken too, and become WAV. A second run only makes what
is missing or changed. Clips that cannot be made are listed in problems.csv with their reasons, and all else in the
input in left_out.csv. Exit code 1 if there are too many of them.
"""

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.config import ParityConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.clips import Entry
from avdfd.core.errors import run_script
from avdfd.core.files import locked, write_atomic, write_csv
from avdfd.core.journal import vanished
from avdfd.core.progress import Bar
from avdfd.core.shards import Shard, parse_shard
from avdfd.core.workers import Failure, count_or_cores, run_killable
from avdfd.corpora.adapters import OWN_TABLE
from avdfd.corpora.fakeavceleb import TABLE
from avdfd.corpora.inventory import stamp
from avdfd.corpora.layouts import find_layout, read_root
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, LeftOut, as_rows, left_out, summary
from avdfd.corpora.parity import ParityRoot, Record, Task, made_name, make, measure
from avdfd.corpora.tables import own_lines
from avdfd.media.chain import Edges, common_edges_and_band

Records = dict[str, Record]


def main(argv: list[str]) -> int:
    cli = Parser(description="Passes the audio of all videos through one chain.")
    cli.add_argument("--config", default="config/codec_parity.json")
    cli.add_argument("--shard", default="0/1", help="i/n: shard i of n, from 0 on; all shards may run at once")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, ParityConfig, overrides=overrides)
    shard = parse_shard(args.shard)
    started = time.monotonic()
    listed, others = read_root(Path(cfg.input), audio=cfg.sound)
    aside = left_out([e for e in listed if e.clip.tier not in cfg.tiers], others, cfg.tiers)
    # All versions of a recording are in one shard: their common edges and band are measured once.
    entries = {e.clip.source: e for e in listed if e.clip.tier in cfg.tiers and shard.takes(e.clip.base)}
    mismatches = sum(line.mismatch and shard.takes(line.source) for line in aside)
    root = ParityRoot(Path(cfg.output), Path(cfg.input), cfg.chain)
    with locked(root.state / f"part-{shard.number}-of-{shard.of}.lock", root.root):
        try:
            records = look(root, entries, {e.clip.source for e in listed}, shard, Path(cfg.input))
            measure_all(root, entries, records, cfg)
            refuse(root, entries, records, cfg)
            grounds = find_grounds(records, cfg)
            number = make_all(root, entries, records, grounds, cfg)
        finally:
            write_lists(root, listed, aside, Path(cfg.input))
    if aside:
        print(f"{root.root / LEFT_OUT}: {summary(aside)}")
    return report(cfg, shard, root, records, mismatches, number, time.monotonic() - started)


def look(root: ParityRoot, entries: dict[str, Entry], listed: set[str], shard: Shard, source_root: Path) -> Records:
    """Remove the clips that are gone; return the records of unchanged clips, and of those that cannot be made."""
    known = {source: record for source in root.sources() if (record := root.read(source))}
    known = {source: record for source, record in known.items() if shard.takes(record.recording)}
    for source in vanished(root.root, known, listed, source_root):
        root.drop(source)
    root.sweep(entries)
    records: Records = {}
    for source, entry in entries.items():
        now = stamp(entry.clip.path)
        problem = entry.problem or now.error
        current = Record(entry.clip.base, (now.size or 0, now.mtime_ns or 0), problem=problem)
        record = known.get(source)
        if record and not problem and (record.recording, record.stamp) == (current.recording, current.stamp):
            records[source] = record
        elif problem:
            records[source] = current
            if record != current:
                root.write(source, current)
    return records


def measure_all(root: ParityRoot, entries: dict[str, Entry], records: Records, cfg: ParityConfig) -> None:
    """Measure the clips that are new or changed, or were stopped by a shorter time limit."""
    todo = {}
    for source, entry in entries.items():
        record = records.get(source)
        if record is None or _too_short(record, cfg):
            todo[entry.clip.path] = source
    stamps = {source: stamp(path) for path, source in todo.items()}
    for path, result in _run(partial(measure, chain=cfg.chain), todo, cfg, "measure"):
        source = todo[path]
        seen = stamps[source]
        record = Record(entries[source].clip.base, (seen.size or 0, seen.mtime_ns or 0))
        records[source] = (
            _failed(record, result, cfg) if isinstance(result, Failure) else record._replace(**result._asdict())
        )
        root.write(source, records[source])


def refuse(root: ParityRoot, entries: dict[str, Entry], records: Records, cfg: ParityConfig) -> None:
    """Refuse clips without video, unless `sound` takes them, and clips that would be the same file as an earlier one.

    What was refused by an earlier run and is not now is made.
    """
    taken: dict[str, str] = {}
    for source in entries:
        record = records[source]
        if record.version is None:
            continue
        problem = "" if record.has_video or cfg.sound else "no video stream"
        if not problem and (other := taken.setdefault(made_name(source, record.has_video), source)) != source:
            problem = f"would be the same file as {other}"
        if problem or record.refused:
            records[source] = Record(*record[:3], problem=problem, has_video=record.has_video)
        if records[source] != record:
            root.write(source, records[source])


def find_grounds(records: Records, cfg: ParityConfig) -> dict[str, tuple[Edges, float]]:
    """Return the edges and band of every recording, common to all its versions that could be measured."""
    versions = defaultdict(list)
    for record in records.values():
        if record.version and not record.refused:
            versions[record.recording].append(record.version)
    return {recording: common_edges_and_band(found, cfg.chain) for recording, found in versions.items()}


def make_all(
    root: ParityRoot,
    entries: dict[str, Entry],
    records: Records,
    grounds: dict[str, tuple[Edges, float]],
    cfg: ParityConfig,
) -> int:
    """Make the clips that are missing or were made with other edges or band; return their number."""
    todo: dict[Task, str] = {}
    for source, record in records.items():
        if not record.version or record.refused:
            continue
        edges, band = grounds[record.recording]
        settled = (record.edges, record.band) == (edges, band) and not _too_short(record, cfg)
        if not (settled and (record.problem or root.is_made(source, record))):
            place = entries[source].clip.path, root.out(source, record), source, record.recording
            todo[Task(*place, edges, band, bool(record.has_video))] = source
    made = 0
    for task, result in _run(partial(make, chain=cfg.chain), todo, cfg, "make"):
        source = todo[task]
        record = Record(*records[source][:3], task.edges, task.band, has_video=task.has_video)
        made += not isinstance(result, Failure)
        records[source] = _failed(record, result, cfg) if isinstance(result, Failure) else record._replace(size=result)
        root.write(source, records[source])
    return made


def _run(work: Callable[[Any], Any], todo: Iterable[Any], cfg: ParityConfig, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield items and their results, computed in worker processes, with a progress bar."""
    items = list(todo)
    workers = min(count_or_cores(cfg.workers), len(items))
    results = run_killable(work, items, workers=workers, time_limit=cfg.time_limit)
    with contextlib.closing(results), Bar(total=len(items), desc=name, unit="file") as bar:
        for item, result in results:
            yield item, result
            bar.update()


def _failed(record: Record, failure: Failure, cfg: ParityConfig) -> Record:
    return record._replace(problem=failure.reason, stopped_after=cfg.time_limit if failure.killed else None)


def _too_short(record: Record, cfg: ParityConfig) -> bool:
    return record.stopped_after is not None and record.stopped_after < cfg.time_limit


def write_lists(root: ParityRoot, listed: list[Entry], aside: list[LeftOut], source_root: Path) -> None:
    """Write problems.csv of all shards, left_out.csv, and the table of the layout: meta_data.csv, or a clips.csv."""
    with locked(root.lock, root.root, wait=True):
        records = {source: record for source in sorted(root.sources()) if (record := root.read(source))}
        problems = [(source, record.problem) for source, record in records.items() if record.problem]
        write_csv(root.root / "problems.csv", [("source", "reason"), *problems])
        write_csv(root.root / LEFT_OUT, [COLUMNS, *as_rows(aside)])
        if find_layout(source_root) != "fakeavceleb":
            made = {source for source, record in records.items() if record.size is not None}
            has_video = {source: record.has_video for source, record in records.items()}
            names = {e.clip.source: made_name(e.clip.source, has_video.get(e.clip.source)) for e in listed}
            clips = [
                (
                    replace(
                        entry.clip, source=names[entry.clip.source], base=names.get(entry.clip.base, entry.clip.base)
                    ),
                    entry.split,
                )
                for entry in listed
                if entry.clip.source in made
            ]
            write_csv(root.root / OWN_TABLE, own_lines(clips))
        elif (source_root / TABLE).is_file():
            write_atomic(root.root / TABLE, (source_root / TABLE).read_bytes())


def report(
    cfg: ParityConfig, shard: Shard, root: ParityRoot, records: Records, mismatches: int, made: int, seconds: float
) -> int:
    """Print the summary; return the exit code. `mismatches` are the files that no table lists."""
    bad = sum(bool(record.problem) for record in records.values())
    which = f"shard {shard}, " if shard.of > 1 else ""
    print(
        f"{cfg.output}: {which}{len(records)} files, {len(records) - bad} present ({made} made now), "
        f"{bad} could not be made, {seconds:.0f} s"
    )
    grounds = {record.recording: record for record in records.values() if record.edges}
    long = sum(cfg.chain.max_edge in record.edges for record in grounds.values() if record.edges)
    if long:
        print(
            f"  {long} of {len(grounds)} recordings have an edge of chain.max_edge = {cfg.chain.max_edge:g} s or more"
        )
    videos = sum(record.has_video is True for record in records.values())
    if videos and cfg.chain.edge_silence:
        print(f"  {videos} videos keep their own edge silence: cutting it off would shift the audio against the frames")
    if bad:
        print(f"{root.root / 'problems.csv'} lists the reasons; a file is tried again when it or the settings change")
    bad, count = bad + mismatches, len(records) + mismatches
    if bad <= cfg.max_problems * count:
        return 0
    place = f"{root.root / 'problems.csv'}" + (f" and, for {mismatches} of them, {LEFT_OUT}" if mismatches else "")
    print(
        f"error: {bad} of {count} files could not be made, more than max_problems = {cfg.max_problems:g}; see {place}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    run_script(main)
