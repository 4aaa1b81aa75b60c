"""Downloads clips of VoxCeleb2 from the tar shards of a data set on the Hugging Face hub, without storing the shards.

    python data/preprocessing/down_vox2.py --fakeavceleb /data/FakeAVCeleb_v1.2 --out /data/VoxCeleb2 --dry-run
    python data/preprocessing/down_vox2.py --identities identities.txt --out /data/VoxCeleb2
    python data/preprocessing/down_vox2.py --all --out /data/VoxCeleb2

The default data set has the audio (.m4a) of VoxCeleb2's dev set; it has no video and no identities of the test set.

A second run fetches only what is missing: it resumes inside a shard, and reads a finished shard again only for further
identities that are in it. manifest.jsonl lists the clips (path, sha256, bytes, shard), problems.csv the failures and
their reasons, missing.txt the identities without a clip. Exit code 1 if there are problems or no clip at all. If the
data set needs a token, set HF_TOKEN in the environment.
"""

import argparse
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, locked, write_atomic, write_csv
from avdfd.core.progress import Bar
from avdfd.core.text import read_names, read_text
from avdfd.core.tiers import TIERS
from avdfd.core.workers import MOST
from avdfd.corpora.voxceleb.download import DownloadError, Hub
from avdfd.corpora.voxceleb.listing import Shard
from avdfd.corpora.voxceleb.shards import Summary, fetch_shard, plan, write_manifest

IDENTITIES = 5994  # in the dev set of VoxCeleb2, which the default data set has
SHARE = 2  # identities have more or fewer clips: twice the average size is required


def main(argv: list[str]) -> int:
    cli = Parser(description="Downloads clips of VoxCeleb2 from the hub.")
    who = cli.add_mutually_exclusive_group(required=True)
    who.add_argument("--identities", type=Path, help="text file with an identity (id00012) per line")
    who.add_argument("--fakeavceleb", type=Path, help="root of FakeAVCeleb: all its identities")
    who.add_argument("--all", action="store_true", help="all identities")
    cli.add_argument("--out", type=Path, required=True, help="folder for the clips")
    cli.add_argument("--repo", default="gaunernst/voxceleb2-dev-wds", help="data set on the hub (default: audio only)")
    cli.add_argument("--base-url", default="https://huggingface.co")
    cli.add_argument("--revision", default="main")
    cli.add_argument("--workers", type=int, default=4, help="number of shards that are read at once")
    cli.add_argument("--max-bytes", default="", help="leave shards beyond this for another run: 500M, 20G")
    cli.add_argument("--dry-run", action="store_true", help="print how much would be fetched, and fetch nothing")
    args = cli.parse_args(argv)

    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out}: is a file; --out takes a folder")
    wanted = None if args.all else read_wanted(args.identities, args.fakeavceleb)
    limit = bytes_of(args.max_bytes) if args.max_bytes else None
    hub = make_hub(args)
    invalid: dict[str, str] = {}
    try:
        # Without a network, fail early.
        shards = replace(hub, retries=3).shards(invalid.__setitem__)
    except DownloadError as error:
        print(f"error: {args.base_url}: {error}; check the network, the proxy and --base-url", file=sys.stderr)
        return 1
    if args.dry_run:
        print_plan(make_plan(shards, args.out, wanted, limit), shards, wanted, args.out)
        for path, reason in invalid.items():
            print(f"{path}: the list states it wrongly: {reason}", file=sys.stderr)
        return int(bool(invalid))
    with claim(args.out):
        todo = make_plan(shards, args.out, wanted, limit)
        print_plan(todo, shards, wanted, args.out)
        require_room(todo, args.out)
        try:
            failed = fetch(hub, todo, args.out, wanted, args.workers)
        finally:
            summary = write_manifest(args.out)
        return report(summary, len(shards), {**invalid, **failed}, wanted, args.out)


def read_wanted(identities: Path | None, fakeavceleb: Path | None) -> frozenset[str]:
    """Return the identities of a list or of a FakeAVCeleb root."""
    if identities is not None:
        return read_list(identities)
    assert fakeavceleb is not None, "argparse asks for one of the two"
    return read_fakeavceleb(fakeavceleb)


def read_list(path: Path) -> frozenset[str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; --identities takes a text file with an identity per line")
    found = read_names(path)
    for name, number in found.items():
        if not re.fullmatch(r"id\d+", name):
            raise UserError(f"{path}: line {number}: '{name}' is not an identity of VoxCeleb2, such as id00012")
    if not found:
        raise UserError(f"{path}: the list is empty; write one identity per line")
    return frozenset(found)


def read_fakeavceleb(root: Path) -> frozenset[str]:
    """Return all identities with a folder, `<tier folder>/<race>/<gender>/<identity>`, or in meta_data.csv."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --fakeavceleb takes the root of FakeAVCeleb")
    folders = (path.name for tier in TIERS.values() for path in (root / tier.folder).glob("*/*/id*"))
    found = {name for name in folders if re.fullmatch(r"id\d+", name)}
    table = root / "meta_data.csv"
    if table.is_file():  # also the targets of the fakes, who may have no folder
        found |= set(re.findall(r"id\d+", read_text(table)))
    if not found:
        raise UserError(f"{root}: neither meta_data.csv nor <tier folder>/<race>/<gender>/<identity> names an identity")
    return frozenset(found)


def bytes_of(text: str) -> int:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGT]?)B?", text)
    if number is None:
        raise UserError(f"--max-bytes: '{text}' is not a size; write 500M or 20G")
    return int(float(number[1]) * 1000 ** " KMGT".index(number[2].upper() or " "))


def make_hub(args: argparse.Namespace) -> Hub:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", args.repo):
        raise UserError(f"--repo: '{args.repo}' is not of the form owner/name")
    if not re.match(r"https?://[^/]", args.base_url):
        raise UserError(f"--base-url: '{args.base_url}' is not an address; write https://...")
    if not 1 <= args.workers <= MOST:
        raise UserError(f"--workers takes a number of 1 or more, up to {MOST}")
    token = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):  # the HTTP library would print it in its error
        raise UserError("HF_TOKEN has characters that are invalid in a token; set it again")
    return Hub(args.repo, args.revision, args.base_url.rstrip("/"), token or None)


class Todo(NamedTuple):
    shards: list[Shard]
    left: int
    """Bytes of them that are still to be read."""
    room: int
    """Bytes that the clips may take."""
    later: int
    """Number of shards that --max-bytes leaves for another run."""


def make_plan(shards: list[Shard], out: Path, wanted: frozenset[str] | None, limit: int | None) -> Todo:
    """Return the shards that are still to be read, up to the limit."""
    todo, total, later = [], 0, 0
    for shard in shards:
        left = plan(shard, out, wanted).left
        if left and limit is not None and total + left > limit:
            later += 1
        elif left:
            todo.append(shard)
            total += left
    if later and not todo:
        raise UserError("--max-bytes is less than any shard has left; give more")
    share = 1.0 if wanted is None else min(1.0, SHARE * len(wanted) / IDENTITIES)
    return Todo(todo, total, round(total * share), later)


def print_plan(todo: Todo, shards: list[Shard], wanted: frozenset[str] | None, out: Path) -> None:
    who = "all identities" if wanted is None else f"{len(wanted)} identities"
    print(
        f"{who} wanted; {len(shards)} shards with {in_words(sum(shard.size for shard in shards))}, of which "
        f"{len(todo.shards)} with {in_words(todo.left)} at most are to be fetched"
        + (f", {todo.later} are left for another run" if todo.later else "")
    )
    print(f"{out}: the clips may take {in_words(todo.room)}; {in_words(free_bytes(out))} are free")


def require_room(todo: Todo, out: Path) -> None:
    free = free_bytes(out)
    if free < todo.room:
        raise UserError(
            f"{out}: {in_words(free)} are free, the clips may take {in_words(todo.room)}; free some space, choose "
            "another folder or fetch a part with --max-bytes"
        )


def free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def in_words(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Lock the folder against other runs."""
    ensure_writable(out / ".shards")
    with locked(out / ".shards" / "lock", out):
        yield


class Watch:
    """Shows the progress of the threads, and stops them when one of them or the user ends the run."""

    def __init__(self, bar: Bar) -> None:
        self.bar, self.clips = bar, 0
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def on_bytes(self, size: int) -> None:
        if self.stop.is_set():
            raise CancelledError
        with self._lock:
            self.bar.update(size)

    def on_clip(self) -> None:
        with self._lock:
            self.clips += 1
            self.bar.set_postfix(clips=self.clips, refresh=False)

    def sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise CancelledError


def fetch(hub: Hub, todo: Todo, out: Path, wanted: frozenset[str] | None, workers: int) -> dict[str, str]:
    """Read the shards, some at a time; return the reasons of those that failed."""
    failed: dict[str, str] = {}
    started = time.monotonic()
    with (
        Bar(total=todo.left, desc="download", unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        watch = Watch(bar)
        hub = replace(hub, sleep=watch.sleep)
        reading = {
            pool.submit(fetch_shard, hub, shard, out, wanted, watch.on_bytes, watch.on_clip): shard.path
            for shard in todo.shards
        }
        try:
            for future in as_completed(reading):
                try:
                    future.result()
                except DownloadError as error:
                    failed[reading[future]] = str(error)
        except BaseException:  # also Ctrl-C
            watch.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"fetched {watch.clips} clips, {in_words(bar.n)}, in {time.monotonic() - started:.0f} s")
    return failed


def report(summary: Summary, shards: int, failed: dict[str, str], wanted: frozenset[str] | None, out: Path) -> int:
    """Write the lists of problems and missing identities, print the summary; return the exit code."""
    identities, size, done, whole, refused = summary
    rows = [("shard", "member", "reason"), *((shard, "", failed[shard]) for shard in sorted(failed)), *refused]
    write_csv(out / "problems.csv", rows)
    missing = sorted(wanted - identities.keys()) if wanted is not None else []
    write_atomic(out / "missing.txt", "".join(f"{identity}\n" for identity in missing).encode())

    print(
        f"{out}: {identities.total()} clips of {len(identities)} identities, {in_words(size)}; "
        f"{done} of {shards} shards read, {whole} checked by sha256, {done - whole} by size alone"
    )
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        print(
            f"{len(missing)} identities have no clip{' so far' * (done < shards)}: {shown}; see {out / 'missing.txt'}"
        )
    if failed or refused:
        print(
            f"error: {len(failed)} shards failed, {len(refused)} members were refused; see {out / 'problems.csv'}; "
            "a second run retries the failed shards",
            file=sys.stderr,
        )
    elif not identities:
        print("error: no clip of the wanted identities", file=sys.stderr)
    return int(bool(failed or refused) or not identities)


if __name__ == "__main__":
    run_script(main)
