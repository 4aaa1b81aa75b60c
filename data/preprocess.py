"""Videos -> elements: decodes, finds faces, cuts windows of 3.072 s, and packs them into an element store.

    bash data/preprocess.sh                                    the data set of the config
    python data/preprocess.py --config config/demo/preprocess.json --workers=2
    python data/preprocess.py --input=/data --csv=trainset.csv     the videos of a list, as OpenAVFF has them
    sbatch --array=0-15 data/preprocess.sh                     one store by 16 tasks: --shard 0/16 ... --shard 15/16

A second run only does what is missing, and follows changed and removed files. A killed run resumes to byte-identical
output. Files that cannot be used are listed in quarantine.csv with their reasons, and tried again when they change.
Exit code 1 if there are too many of them.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # avdfd, when it is not installed

from avdfd.config import MediaConfig, PreprocessConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.clips import CLIP_DEFAULTS, NO_VIDEO, VIDEO
from avdfd.core.errors import MediaError, UserError, run_script
from avdfd.core.files import sha256_of, stamp, write_csv
from avdfd.core.heap import keep_free_memory
from avdfd.core.journal import AppendedFile, Journal, refuse_overlap, vanished
from avdfd.core.progress import Bar
from avdfd.core.shards import Shard, parse_shard
from avdfd.core.workers import Failure, count_or_cores, run_killable
from avdfd.corpora.inventory import check_periods, hash_all, hash_of
from avdfd.corpora.layouts import REPEATED
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, LeftOut, as_rows, summary
from avdfd.corpora.scan import Clip, scan_all, scan_lists, scan_manifest
from avdfd.elements import ElementWriter
from avdfd.elements.form import decode_wav, encode_array, mel_of, repeated
from avdfd.elements.index import merge
from avdfd.elements.layout import MIN_FAKE, STORE, journal_name, left_out_by_truth, parts_of, read_settings
from avdfd.features.window import WINDOW, is_short
from avdfd.media.streams import Reading
from avdfd.media.windows import reconstruction, windows

AHEAD = 4  # files per worker that may wait for a slow one before them
FORM = 3  # version of the code that makes windows: counts as a setting


def main(argv: list[str]) -> int:
    cli = Parser(description="Cuts videos into elements and stores them.")
    cli.add_argument("--config", default="config/preprocess.json")
    cli.add_argument("--shard", default="", help="i/n: only part i of n, as one of n tasks (default: all parts)")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, PreprocessConfig, overrides=overrides)
    root = Path(cfg.output)
    if not cfg.csv and not cfg.manifest:  # their root may contain all, even the output
        refuse_overlap(root, Path(cfg.input))
    if cfg.media.min_fake is not None:
        print("media.min_fake has no effect: all windows are stored; set data.min_fake in the config of the training")
    parts = [parse_shard(args.shard)] if args.shard else parts_of(root)
    clips, others = list_clips(cfg)
    if text := summary(others):
        print(f"{cfg.input}: left out: {text}")
    if cfg.media.mel_err is not None:
        reconstruction(cfg.media.mel_err)  # its errors are reported before the work starts
    codes = []
    for part in parts:
        mismatches = sum(line.mismatch and part.takes(line.source) for line in others)
        codes.append(make_part(part, [clip for clip in clips if part.takes(clip.source)], mismatches, cfg))
    finish(root, others)
    return max(codes)


def list_clips(cfg: PreprocessConfig) -> tuple[list[Clip], list[LeftOut]]:
    """Return the clips of the data set, in order of their path, and everything else in it."""
    root = Path(cfg.input)
    if cfg.csv:
        clips, others, counts = scan_lists([Path(path) for path in cfg.csv], root, cfg.tiers, Path(cfg.output))
        print(counts)
    elif cfg.manifest:
        clips, others = scan_manifest(Path(cfg.manifest), root, cfg.tiers, Path(cfg.output))
    else:
        clips, others = scan_all(root, cfg.tiers, audio="frames" not in cfg.media.keep)
    check_names(clips)
    return clips, others


def make_part(part: Shard, clips: list[Clip], mismatches: int, cfg: PreprocessConfig) -> int:
    """Make one part of the store; return the exit code. `mismatches` are the files without a row, and vice versa."""
    started = time.monotonic()
    with ElementWriter(cfg.output, settings(cfg) | former_settings(Path(cfg.output)), cfg.shard_clips, part) as writer:
        process(writer, plan(writer, clips, cfg), cfg)
        return report(writer, clips, mismatches, cfg, time.monotonic() - started)


def plan(writer: ElementWriter, clips: list[Clip], cfg: PreprocessConfig) -> list[Clip]:
    """Remove the clips that are gone from the store; return the clips that are new or changed."""
    present = {clip.source for clip in clips}
    known = {source for source, record in writer.records.items() if record["clip"]["tier"] in cfg.tiers}
    gone = vanished(writer.root, known, present, Path(cfg.input))
    writer.drop(gone)
    damaged = writer.drop_damaged()
    for line in damaged:
        print(f"repairing {line}")
    states = {clip.source: is_done(writer.records.get(clip.source), clip, cfg) for clip in clips}
    doubtful = {clip.path: clip.source for clip in clips if states[clip.source] is None}
    workers = count_or_cores(cfg.workers)
    for path, sha256 in hash_all(doubtful, workers=workers, time_limit=cfg.media.time_limit):
        states[doubtful[path]] = sha256 != "" and sha256 == writer.records[doubtful[path]]["clip"]["sha256"]
    todo = [clip for clip in clips if not states[clip.source]]
    changed = sum(clip.source in writer.records for clip in todo)
    if known:
        print(f"{cfg.output}: {len(clips) - len(todo)} files done before, {changed} changed, {len(gone)} gone")
    return todo


def is_done(record: dict[str, Any] | None, clip: Clip, cfg: PreprocessConfig) -> bool | None:
    """Return True if the store has the current version of a clip; None if only its sha256 can show it."""
    if record is None:
        return False
    known = CLIP_DEFAULTS | record["clip"]
    if any(known.get(key) != value for key, value in describe(clip).items()):
        return False
    if not clip.path.is_file():
        return record["stamp"] is None  # it was missing before
    if record["stopped_after"] is not None and record["stopped_after"] < cfg.media.time_limit:
        return False
    return True if record["stamp"] == stamp(clip.path) else None


def process(writer: ElementWriter, todo: list[Clip], cfg: PreprocessConfig) -> None:
    """Make the elements of the clips in worker processes. They are stored in the order of the clips, so that the store
    does not depend on which process was faster."""
    workers = count_or_cores(cfg.workers)
    spool = writer.root / f".spool-{writer.part.number:03d}"
    shutil.rmtree(spool, ignore_errors=True)  # left by a killed run
    spool.mkdir()
    work = partial(spool_or_refuse, media=without_mel(cfg.media), folder=spool)
    results = run_killable(
        work, todo, workers=min(workers, len(todo)), time_limit=cfg.media.time_limit, ahead=AHEAD * workers
    )
    made = failed = 0
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, spool)
        stack.enter_context(contextlib.closing(results))
        bar = stack.enter_context(Bar(total=len(todo), desc="preprocess", unit="file"))
        for clip, result in results:
            there = clip.path.is_file()
            facts: dict[str, Any] = {"stamp": stamp(clip.path) if there else None, "stopped_after": None}
            if isinstance(result, Failure):  # there was no time for its sha256 either
                failed += 1
                facts["stopped_after"] = cfg.media.time_limit if result.killed else None
                writer.add({**describe(clip), "sha256": ""}, [], reason=result.reason, **facts)
            elif isinstance(result, Refused):
                failed += 1
                writer.add({**describe(clip), "sha256": result.sha256}, [], reason=result.reason, **facts)
            else:
                made += len(result.windows)
                found = {**describe(clip), "sha256": result.sha256, "has_video": result.has_video}
                writer.add(
                    found, with_mel(result.read(), cfg.media), left_out=result.left_out, **facts, **result.reading
                )
                result.file.unlink()
            bar.set_postfix(elements=made, quarantined=failed, refresh=False)
            bar.update()


class Spooled(NamedTuple):
    """Windows of a clip, in a file, as those of a long clip would fill the memory."""

    file: Path
    windows: list[dict[str, Any]]
    """`start`, `end`, `face` if cropped to one, and the `sizes` of the members, which follow each other in the file."""
    left_out: list[dict[str, Any]]
    reading: dict[str, Any]
    """Streams that were chosen among several, and damage; empty for an ordinary file."""
    sha256: str
    has_video: str

    def read(self) -> Iterator[dict[str, Any]]:
        with self.file.open("rb") as file:
            for window in self.windows:
                yield {**window, "parts": {suffix: file.read(size) for suffix, size in window["sizes"].items()}}


class Refused(NamedTuple):
    """A file that cannot be used."""

    reason: str
    sha256: str
    """Empty if the file cannot be read at all."""


def without_mel(media: MediaConfig) -> MediaConfig:
    """Return the settings of the workers. They leave the mel to the main process, as torch, which makes it, takes more
    memory than all else in a worker, and longer to import than a mel takes to be made."""
    keep = [kept for kept in media.keep if kept not in ("waveform", "mel")]
    return media.model_copy(update={"keep": ["waveform", *keep]})


def with_mel(windows: Iterable[dict[str, Any]], media: MediaConfig) -> Iterator[dict[str, Any]]:
    """Yield windows of a worker with the members that the settings keep, in the order of `avdfd.media.windows`."""
    if "mel" in media.keep:
        use_one_thread()
    for window in windows:
        wav, rest = window["parts"]["wav"], {k: v for k, v in window["parts"].items() if k != "wav"}
        parts = {"wav": wav} if "waveform" in media.keep else {}
        if "mel" in media.keep:
            parts["mel.npy"] = encode_array(mel_of(repeated(decode_wav(wav), WINDOW)))
        yield {**window, "parts": parts | rest}


def use_one_thread() -> None:
    """Have torch use one thread: there is one worker per core already."""
    import torch  # here, as most workers do without

    torch.set_num_threads(1)


def spool_or_refuse(clip: Clip, media: MediaConfig, folder: Path) -> Spooled | Refused:
    """Return the windows of a clip, or why there are none; its sha256 in either case. Runs in a worker."""
    try:
        return spool_windows(clip, media, folder)
    except MediaError as error:
        return Refused(str(error), hash_of(clip.path))


def spool_windows(clip: Clip, media: MediaConfig, folder: Path) -> Spooled:
    """Cut a clip into windows. Runs in a worker. Raises MediaError."""
    cv2.setNumThreads(1)  # there is one worker per core already
    keep_free_memory()
    check_periods(clip)
    if media.mel_err is not None:
        use_one_thread()
    kept: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    reading = Reading()
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    with contextlib.closing(AppendedFile(Path(name), 0)) as file:
        for window in windows(clip.path, media, reading):
            if "reason" in window:
                left_out.append(window)
                continue
            parts, face = window.pop("parts"), window.pop("face")
            for data in parts.values():
                file.add(data)
            if face is not None:
                window["face"] = face.facts()
            kept.append({**window, "sizes": {suffix: len(data) for suffix, data in parts.items()}})
    has_video = VIDEO if reading.has_video else NO_VIDEO
    return Spooled(file.path, kept, left_out, reading.facts(), sha256_of(clip.path), has_video)


def report(writer: ElementWriter, clips: list[Clip], mismatches: int, cfg: PreprocessConfig, seconds: float) -> int:
    """Print a summary of the part; return the exit code."""
    bad = elements = short = left_out = 0
    for clip in clips:
        record = writer.records[clip.source]
        bad += bool(record.get("reason"))
        elements += len(record["windows"])
        short += sum(is_short(window["start"], window["end"]) for window in record["windows"])
        left_out += len(record.get("left_out", ()))
    where = f"{cfg.output}, part {writer.part}" if writer.part.of > 1 else cfg.output
    print(
        f"{where}: {len(clips)} files, {elements} elements{f', {short} of them short' if short else ''}, "
        f"{bad} files quarantined, {left_out} windows left out, {writer.size() / 1e6:.1f} MB, {seconds:.0f} s"
    )
    bad, count = bad + mismatches, len(clips) + mismatches
    if bad <= cfg.max_quarantined * count:
        return 0
    place = f"{Path(cfg.output) / 'quarantine.csv'}"
    if mismatches:
        place += f" and, for {mismatches} files without a row or rows without a file, {LEFT_OUT} beside it"
    print(
        f"error: {bad} of {count} files could not be used, more than max_quarantined = {cfg.max_quarantined:g}; "
        f"see {place}",
        file=sys.stderr,
    )
    return 1


def finish(root: Path, others: list[LeftOut]) -> None:
    """Write the index and the lists of the whole store, unless other tasks are still writing to it.

    `others` are the files and rows of the input that are left out, some of which earlier runs may have stored.
    """
    if not merge(root):
        print(f"{root}: other tasks are still writing to it; the last of them writes the index")
        return
    bad, out, missing = [("source", "reason")], [COLUMNS], []
    stored = set()
    for part in parts_of(root):
        path = root / journal_name(part.number)
        missing += [] if path.exists() else [str(part)]
        with Journal(path) as journal:
            for source, record in journal.items():
                stored.add(source)
                bad += [(source, record["reason"])] if record.get("reason") else []
                out += [(source, w["start"], w["end"], w["reason"]) for w in record.get("left_out", ())]
    write_csv(root / "quarantine.csv", bad)
    write_csv(
        root / LEFT_OUT, out + as_rows(line for line in others if line.reason == REPEATED or line.source not in stored)
    )
    if len(bad) > 1:
        print(f"{root / 'quarantine.csv'} lists the reasons; a file is tried again when it or the settings change")
    if missing:
        print(f"{root}: indexed without parts {', '.join(missing)}, which have not been made yet")


def settings(cfg: PreprocessConfig) -> dict[str, Any]:
    """Return the settings that the elements depend on, by config key."""
    flat: dict[str, Any] = {"form": FORM}
    media = cfg.media.model_dump(exclude={"time_limit": True, "min_fake": True, "mel_err": {"device"}})
    for key, value in media.items():
        if isinstance(value, dict):
            flat |= {f"media.{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[f"media.{key}"] = value
    if not cfg.media.whole:  # stores made before these settings existed are continued
        del flat["media.whole"], flat["media.max_seconds"]
    if cfg.media.whole or not cfg.media.short:
        del flat["media.short"]
    return flat


def former_settings(root: Path) -> dict[str, Any]:
    """Return the `media.min_fake` of a store made when that left out windows, if none was: it is continued."""
    if not (root / STORE).exists() or left_out_by_truth(root):
        return {}
    return {key: value for key, value in read_settings(root)["settings"].items() if key == MIN_FAKE}


def describe(clip: Clip) -> dict[str, Any]:
    """Return the facts about a clip as its record stores them, without what reading its file shows."""
    described = {field.name: getattr(clip, field.name) for field in fields(clip)}
    del described["path"], described["sha256"], described["has_video"]
    described["identities"] = [*clip.identities]
    described["fake_periods"] = clip.fake_periods and [*map(list, clip.fake_periods)]
    described["page"] = described.pop("page")  # last, as records have always had it
    return described


def check_names(clips: list[Clip]) -> None:
    """Raise UserError if two names differ in dots only: keys have no dots, as these separate the members of a shard."""
    seen: dict[str, str] = {}
    for clip in clips:
        other = seen.setdefault(clip.source.replace(".", "_"), clip.source)
        if other != clip.source:
            raise UserError(f"{clip.source} and {other} differ only in dots; rename one of them")


if __name__ == "__main__":
    run_script(main)
