"""Drawings of one media file, written where they are asked for: over time, into its video, and its reconstruction."""

from collections.abc import Sequence
from pathlib import Path

from avdfd.core.errors import MediaError, WorkError
from avdfd.core.files import write_atomic
from avdfd.inference.inspection import Inspection
from avdfd.inference.reconstruction import Reconstruction
from avdfd.media.streams import Reading
from avdfd.report import inspection, overlay, plots, reconstruction


def write_plot(path: Path, file: Path, called: str, score: float, seen: Inspection, threshold: float) -> None:
    """Draw a scored file over time; `called` is its verdict."""
    title = f"{file.name}   {called}, score {score:.3f}"
    write_atomic(path, plots.encode(inspection.figure_over_time(title, seen, threshold), path.suffix))


def write_overlay(
    path: Path,
    file: Path,
    called: str,
    score: float,
    seen: Inspection,
    threshold: float,
    *,
    reading: Reading,
    decoder: str,
) -> None:
    """Draw the evidence into the video of a scored file. Raises WorkError if that cannot be done."""
    story = inspection.story(f"{called} {score:.2f}", seen, threshold)
    try:
        drawn = overlay.overlay(file, decoder, story, reading)
    except MediaError as error:
        raise WorkError(f"--overlay: {file}: {error}") from None
    write_atomic(path, drawn)


def write_reconstruction(paths: Sequence[Path], made: Reconstruction) -> None:
    """Draw a reconstruction as each of the files."""
    for path in paths:
        write_atomic(path, reconstruction.draw(made, path.suffix))
