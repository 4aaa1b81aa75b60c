"""Shortcut probes on a root of videos or of audio: AUC of single file properties, such as loudness, as detectors.

    python data/preprocessing/probe_shortcuts.py --root /data/FakeAVCeleb_v1.2
    python data/preprocessing/probe_shortcuts.py --root videos-parity --max 0.6
    python data/preprocessing/probe_shortcuts.py --root speech-parity                audio files, as there are no videos

No cue needs a video. Audio files beside videos are left out, as their format alone would tell them apart. Prints the
AUC of every cue for every fake tier against RVRA. With `--max`, exit code 1 if an AUC is above it. Files that cannot be
read are listed and left out.
"""

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError, run_script
from avdfd.core.progress import Bar
from avdfd.core.tiers import FAKES, RVRA
from avdfd.core.workers import MOST, Failure, count_or_cores, run_killable
from avdfd.corpora.layouts import LAYOUTS, read_root
from avdfd.corpora.left_out import left_out
from avdfd.evaluation.audit.files import CUES, measure
from avdfd.evaluation.audit.probes import IDENTITY, Clip, Probe, probe_tiers

TIME_LIMIT = 300.0  # seconds for a file


def main(argv: list[str]) -> int:
    cli = Parser(description="Measures shortcuts in a data set.")
    cli.add_argument("--root", type=Path, required=True, help="folder of the videos, or of audio alone")
    cli.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS])
    cli.add_argument("--max", type=float, help="AUC above which a cue is a shortcut")
    cli.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    args = cli.parse_args(argv)
    if not 0 <= args.workers <= MOST or (args.max is not None and not 0.5 <= args.max <= 1):
        raise UserError(f"--workers takes a whole number of 0 or more, up to {MOST}, --max an AUC from 0.5 to 1")

    entries, others = read_root(args.root, args.layout, audio=None)
    clips = [entry.clip for entry in entries if not entry.problem]
    check_kinds(args.root, clips)
    by_path = {clip.path: clip for clip in clips}
    found: dict[str, dict[str, Any]] = {}
    bad = [f"{line.source}: {line.reason}" for line in left_out(entries, others)]
    workers = min(count_or_cores(args.workers), len(clips))
    results = run_killable(measure, by_path, workers=workers, time_limit=TIME_LIMIT)
    with contextlib.closing(results), Bar(total=len(clips), desc="probe", unit="file") as bar:
        for path, result in results:
            clip = by_path[path]
            if isinstance(result, Failure):
                bad.append(f"{clip.source}: {result.reason}")
            else:
                found[clip.source] = result
            bar.update()
    for line in sorted(bad):
        print(f"left out: {line}")
    readable = [  # in the order of the list, so that the folds do not depend on the workers
        Clip(clip.tier, clip.identities or (clip.base,), clip.base, found[clip.source])
        for clip in clips
        if clip.source in found
    ]
    check_kinds(args.root, readable)
    try:
        table, unprobed = probe_tiers(readable)
    except ValueError as error:
        raise UserError(f"{args.root}: cannot be probed ({error})") from None
    for tier, cues in unprobed.items():
        for cue, reason in cues.items():
            print(f"left out: {cue} of {tier}: {reason}")
    return report(table, args.max)


def check_kinds(root: Path, clips: Iterable[ClipMeta | Clip]) -> None:
    """Raise UserError unless there are real clips and fakes."""
    tiers = dict.fromkeys(clip.tier for clip in clips)
    if RVRA.name not in tiers or not set(FAKES) & tiers.keys():
        raise UserError(f"{root}: probes need readable real clips and fakes; there are {', '.join(tiers) or 'none'}")


def report(table: dict[str, dict[str, Probe]], most: float | None) -> int:
    """Print the table; return 1 if a cue is above `most`."""
    width, names = max(len(tier) for tier in table), (*CUES, IDENTITY)
    print(f"{'AUC':<{width}}  {'  '.join(names)}")
    for tier, cues in table.items():
        cells = (f"{cues[cue].auc if cue in cues else float('nan'):<{len(cue)}.3f}" for cue in names)
        print(f"{tier:<{width}}  {'  '.join(cells).rstrip()}")
    if most is None:
        return 0
    found = [
        f"{cue} of {tier} ({one.auc:.3f})"
        for tier, cues in table.items()
        for cue, one in cues.items()
        if one.auc > most
    ]
    if found:
        print(f"error: shortcuts above {most:g}: {', '.join(found)}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    run_script(main)
