"""Give a verdict on media files: one line per file, or JSON with --json.

    python detect.py --run runs/train video.mp4 folder/of/videos --json
    python detect.py --run runs/train folder/of/videos --csv table.csv
    python detect.py --run runs/train video.mp4 --plot video.png --overlay shown.mp4
    python detect.py --run runs/pretrain speech.wav speech.flac
    python detect.py --run runs/openavff --csv testset.csv
    python detect.py --run runs/train --csv test_files.txt --root test --submission av-deepfake1m submission.zip
    python detect.py --run runs/openavff-pretrain video.mp4 --reconstruct video.png --reconstruct shown.mp4

A file is cut into windows of 3.072 s as the elements of the run's training, or every --hop seconds, and each window is
scored. The score of the file is that of evaluate.py: P(fake) pooled over its windows by the rule of the run's
validation report, of the fused branch if the run has one. The verdict is real, fake or uncertain, by a band of scores
outside of which at most 5 % of the validation clips of either class are called wrongly, or by --threshold;
a file that is further from the run's training data than clips of other identities are is `out of domain` instead.
`probability` is the score at the temperature of validation. Without a validation report of the run (evaluate.py --split
validation) the threshold is 0.5, and `calibrated` is false. A run that takes whole clips (MRDF as published) is given
the whole file, up to the seconds that it takes; `--hop` does not apply. A short manipulation in a long video shows in
`windows` rather than in the score. An audio file is scored by the audio branch alone, as `basis` says. A clip of 1 s or
more that is shorter than a window is repeated to fill one, audio and frames together, and so is audio alone of any
duration; `short` says so. Exit code 1 if any file could not be scored. The scores of a list of videos,
`video_name,target` as OpenAVFF has it, are written as its prediction.csv, too, and with `--submission` in the form of a
hidden test.
"""

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from avdfd.config import MediaConfig, parse
from avdfd.core.arguments import Parser, add_encoders
from avdfd.core.errors import UserError, WorkError, run_script
from avdfd.core.files import write_atomic, write_csv
from avdfd.core.leftovers import temporary_folder
from avdfd.core.progress import Bar
from avdfd.core.workers import MOST, Failure, run_killable
from avdfd.corpora.video_list import read_videos
from avdfd.inference.inputs import cut_as_in_training, find_files
from avdfd.inference.outputs import check_drawing, check_is_table, check_table, write_prediction
from avdfd.inference.spool import Cut, buffer_of, read, spool_windows
from avdfd.inference.verdict import table
from avdfd.report import overlay, plots, reconstruction, submissions
from avdfd.report.verdict import verdict_line

AHEAD = 4
"""Files per worker that may be cut while an earlier one is waited for."""
HOP = 1.536
"""Seconds between windows for a run whose elements are unknown."""


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    given = {"hop": HOP if args.hop is None else args.hop, "time_limit": args.time_limit}
    media = parse(given, MediaConfig, source="detect.py")
    listed = read_videos([args.csv], args.root, targets=False) if args.csv else None
    files, left_out = find_files(args.files) if listed is None else (listed.files, {})
    for file, reason in left_out.items():
        print(f"{file}: left out: {reason}", file=sys.stderr)
    check_outputs(args, files)
    for form, _ in args.submission:
        submissions.check(form, [video.source for video in listed.videos] if listed else [])
    if args.reconstruct:
        return draw_reconstruction(args, files[0], media)
    # Imported here, as both need torch: a wrong request is refused before its import, which takes seconds, and the
    # processes that cut files, which import this script, do without it.
    from avdfd.evaluation.judge import load_judge
    from avdfd.report import drawings

    judge = load_judge(args.run, args.device, args.encoders, threshold=args.threshold)
    for remark in judge.remarks():
        print(remark, file=sys.stderr)
    drawn = bool(args.plot or args.overlay)
    media = judge.media(media, hop=args.hop is not None, whole_frame=args.whole_frame, drawn=drawn)
    if media.max_windows and not media.whole:
        print(
            f"{args.run}: judges the first {media.max_windows} windows of a file, as its elements have them; "
            "--hop SECONDS judges all",
            file=sys.stderr,
        )

    lines: list[dict[str, Any]] = []
    width = max(len(str(file)) for file in files)
    with temporary_folder("avdfd-spool-") as spool, closing(cut_files(files, media, spool, args)) as cut:
        for file, found in Bar(cut, total=len(files), desc="detect", unit="file"):
            line, seen, threshold = judge.judge(file, found, explain=drawn)
            if seen is not None and isinstance(found, Cut):
                shown = (file, line["verdict"], line["score"], seen, threshold)
                if args.plot:
                    drawings.write_plot(args.plot, *shown)
                if args.overlay:
                    drawings.write_overlay(args.overlay, *shown, reading=found.reading, decoder=media.decoder)
            lines.append(line)
            Bar.write(json.dumps(line) if args.json else verdict_line(line, width), file=sys.stdout)
            sys.stdout.flush()
    if args.scores:
        write_csv(args.scores, table(lines))
    if listed is not None:
        scores = {line["file"]: line["score"] for line in lines if line["score"] is not None}
        scored = write_prediction(args.prediction, listed, scores)
        print(f"{args.prediction}: {scored} of {len(listed.videos)} videos have a score", file=sys.stderr)
        by_file = {line["file"]: line for line in lines}
        results = {video.source: by_file[str(file)] for video, file in zip(listed.videos, listed.files, strict=True)}
        for form, path in args.submission:
            write_atomic(Path(path), submissions.encode(form, results, args.missing))
            without = len(results) - len(scores)
            print(f"{path}: {len(results)} files, {without} of them without a score", file=sys.stderr)
    return int(any(line["error"] is not None for line in lines))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line, and check what needs no file. Raises UserError."""
    cli = Parser(description="Give a verdict on media files.")
    cli.add_argument("files", nargs="*", type=Path, metavar="FILE", help="media files, or folders that contain some")
    cli.add_argument("--run", required=True, help="run folder of a training script")
    add_encoders(cli)
    cli.add_argument(
        "--csv",
        type=Path,
        metavar="FILE.csv",
        help="with files: write a table of them for spreadsheets; alone: score the videos of this list, "
        "video_name,target",
    )
    cli.add_argument("--root", type=Path, help="root of the paths in the list (default: the list's folder)")
    cli.add_argument(
        "--prediction", type=Path, metavar="OUT.csv", help="scores of the list's videos (default: prediction.csv)"
    )
    cli.add_argument(
        "--submission",
        nargs=2,
        action="append",
        default=[],
        metavar=("FORM", "OUT"),
        help=f"scores of the list's videos as a hidden test takes them: {', '.join(submissions.FORMS)}",
    )
    cli.add_argument(
        "--missing", type=float, metavar="SCORE", help="P(fake) in submissions of videos that cannot be scored"
    )
    cli.add_argument("--scores", type=Path, metavar="OUT.csv", help="that table, also for the videos of a list")
    cli.add_argument("--json", action="store_true", help="one JSON object per line")
    cli.add_argument("--plot", type=Path, metavar="OUT.png", help="draw one file over time (.png .svg .pdf)")
    cli.add_argument("--overlay", type=Path, metavar="OUT.mp4", help="draw the evidence into the video of one file")
    cli.add_argument(
        "--whole-frame",
        action="store_true",
        help="take the whole frame, resized, in place of the face (default: as in the run's training)",
    )
    cli.add_argument(
        "--all-faces", action="store_true", help="score every face (default: the one that speaks, or the largest)"
    )
    cli.add_argument(
        "--reconstruct",
        type=Path,
        action="append",
        metavar="OUT",
        help="draw what a pre-training of AVFF reconstructs of one file, without a verdict (.png .mp4)",
    )
    cli.add_argument("--seed", type=int, default=0, help="seed of the masks of --reconstruct")
    for kind in ("audio", "video"):
        cli.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help=f"index of the {kind} stream to take, as ffprobe numbers it"
        )
    cli.add_argument(
        "--threshold", type=float, help="lowest score that is called fake (default: the run's band on validation)"
    )
    cli.add_argument("--hop", type=float, help="seconds between starts of windows (default: as in the run's elements)")
    cli.add_argument("--time-limit", type=float, default=600.0, help="most seconds to decode one file")
    cli.add_argument("--workers", type=int, default=1, help="files decoded in parallel")
    cli.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = cli.parse_args(argv)

    if not 0 <= (args.threshold or 0) <= 1 or not 1 <= args.workers <= MOST:
        raise UserError(f"--threshold takes a probability from 0 to 1, --workers a number of 1 or more, up to {MOST}")
    if min(args.audio_stream or 0, args.video_stream or 0) < 0:
        raise UserError("--audio-stream and --video-stream take the index of a stream, 0 or more")
    if not args.files and not args.csv:
        raise UserError("name the files to score, or a list of them with --csv")
    if args.files and args.csv:
        if args.scores:
            raise UserError("--csv and --scores write the same table of the files; leave out one of them")
        check_is_table(args.csv)
        args.csv, args.scores = None, args.csv
    if not args.csv and (args.root or args.prediction or args.submission):
        raise UserError("--root, --prediction and --submission go with --csv, a list of videos")
    unknown = next((form for form, _ in args.submission if form not in submissions.FORMS), None)
    if unknown is not None:
        raise UserError(f"--submission {unknown}: no such form; use one of {', '.join(submissions.FORMS)}")
    if args.missing is not None and not (args.submission and 0 <= args.missing <= 1):
        raise UserError("--missing takes a probability from 0 to 1, for --submission")
    if args.all_faces and (args.plot or args.overlay or args.reconstruct):
        raise UserError("--all-faces: drawings show one face at a time; leave out the drawing, or --all-faces")
    if args.reconstruct and (args.plot or args.overlay or args.csv or args.scores or not 0 <= args.seed < 2**63):
        raise UserError(
            "--reconstruct gives no verdict, so no --plot, --overlay, --csv or --scores; --seed is 0 or more"
        )
    args.prediction = args.prediction or Path("prediction.csv")
    return args


def check_outputs(args: argparse.Namespace, files: list[Path]) -> None:
    """Raise UserError before any work if something that is asked for cannot be made or written."""
    if args.csv:
        check_table("--prediction", args.prediction, [args.csv, *files])
        made = [args.csv, args.prediction, *([args.scores] if args.scores else ()), *files]
        for _, path in args.submission:
            check_table("--submission", Path(path), made)
            made.append(Path(path))
    if args.scores:
        check_table("--scores", args.scores, [*([args.csv, args.prediction] if args.csv else ()), *files])
    if args.plot:
        check_drawing("--plot", args.plot, files, plots.SUFFIXES)
    if args.overlay:
        check_drawing("--overlay", args.overlay, files, (overlay.SUFFIX,))
    for path in args.reconstruct or ():
        check_drawing("--reconstruct", path, files, reconstruction.SUFFIXES)


def cut_files(
    files: Sequence[Path], media: MediaConfig, spool: Path, args: argparse.Namespace
) -> Generator[tuple[Path, Cut | Failure], None, None]:
    """Cut files into windows in worker processes; yield each in its order, with what was cut or why it was not."""
    cut = partial(
        spool_windows,
        media=media,
        folder=spool,
        audio_stream=args.audio_stream,
        video_stream=args.video_stream,
        all_faces=args.all_faces,
        buffer=buffer_of(args.workers),
    )
    return run_killable(cut, files, workers=args.workers, time_limit=media.time_limit, ahead=AHEAD * args.workers)


def draw_reconstruction(args: argparse.Namespace, file: Path, media: MediaConfig) -> int:
    """Draw what a pre-training of AVFF reconstructs of the first window of a file."""
    from avdfd.inference.reconstruction import load_autoencoder, reconstruct  # torch, as above
    from avdfd.report import drawings

    autoencoder = load_autoencoder(args.run, args.device)
    asked = {"hop": args.hop is not None, "whole_frame": args.whole_frame}
    media = cut_as_in_training(media, autoencoder.media, **asked).model_copy(update={"max_windows": 1})
    with temporary_folder("avdfd-spool-") as spool:
        [(_, found)] = cut_files([file], media, spool, args)
        if isinstance(found, Failure):
            raise WorkError(f"{file}: {found.reason}")
        if found.reading.video_stream is None:
            raise WorkError(f"{file}: no video stream")
        made = reconstruct(autoencoder, read(found.windows[0]), args.seed)
    drawings.write_reconstruction(args.reconstruct, made)
    for path in args.reconstruct:
        print(f"{path}: error of the normalised targets: video {made.video.error:.3f}, audio {made.audio.error:.3f}")
    return 0


if __name__ == "__main__":
    run_script(main)
