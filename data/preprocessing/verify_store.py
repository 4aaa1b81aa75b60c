"""Checks an element store at the speed of the disk: every byte of every element, the index and the journals.

    python data/preprocessing/verify_store.py data/elements

Prints one line for every damage, with the shard and the clip; data/preprocess.py, run again, makes damaged clips anew.
Exit code 1 if anything is damaged or missing.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.errors import run_script
from avdfd.elements.verify import verify


def main(argv: list[str]) -> int:
    cli = Parser(description="Checks the files of an element store.")
    cli.add_argument("store", type=Path)
    args = cli.parse_args(argv)
    started = time.monotonic()
    found = verify(args.store)
    seconds = time.monotonic() - started
    for damage in found.damages:
        print(damage)
    print(
        f"{args.store}: {found.elements} elements, {found.bytes / 1e6:.1f} MB in {seconds:.1f} s; "
        f"{found.unchecked} elements without a checksum, {len(found.damages)} damages"
    )
    if not found.whole:
        print(f"{args.store}: its index is not finished or was made before checksums; run data/preprocess.py again")
    if found.damages:
        print(f"error: {args.store} is damaged; run data/preprocess.py again, or copy it again", file=sys.stderr)
    return int(bool(found.damages))


if __name__ == "__main__":
    run_script(main)
