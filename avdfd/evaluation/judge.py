"""A run that judges media files: how it takes them, how its branches decide, and what its training data looked like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.baselines.open_store import longest_clip, takes_whole_clips
from avdfd.config import MediaConfig
from avdfd.core.errors import UserError, WorkError
from avdfd.core.workers import Failure
from avdfd.evaluation import domain
from avdfd.evaluation.stored import decisions_of
from avdfd.inference.domain import Domain, with_distances
from avdfd.inference.inputs import cut_as_in_training
from avdfd.inference.inspection import Inspection, inspect
from avdfd.inference.runs import Run, audio_only, load_run
from avdfd.inference.spool import Cut
from avdfd.inference.verdict import AT_ONE_HALF, verdict
from avdfd.metrics.selective import Band, Decision


class Judged(NamedTuple):
    """Result for a file as `verdict` makes it, and what it is of: None if it has no score."""

    line: dict[str, Any]
    seen: Inspection | None = None
    threshold: float = 0.5
    """Lowest score that is called fake."""


class Judge(NamedTuple):
    """A loaded run with what its evaluation on validation has found."""

    run: Run
    audio_run: Run | None
    """The run as it scores audio alone; None if it cannot."""
    decisions: Mapping[str, Decision]
    """Branch -> how it decides: by the threshold asked for, by validation, or at 0.5."""
    domain: Domain | None
    """Its training data, by evaluation on validation; None without."""

    def remarks(self) -> list[str]:
        """Return what the user should know about all scores of the run."""
        name, found = self.run.folder, list[str]()
        if self.domain is None:
            why = f"evaluate.py --run {name} --split validation finds out what that looked like"
            why = domain.NOT_TRAINED if self.run.early is None else why
            found.append(f"{name}: files unlike its training data are not recognised; {why}")
        if self.domain is not None and self.domain.built_in:
            found.append(
                f"{name}: trained on drawn faces, the built-in corpus; its scores say nothing about real recordings"
            )
        return found

    def media(self, media: MediaConfig, *, hop: bool, whole_frame: bool, drawn: bool) -> MediaConfig:
        """Return the settings of decoding for what the run reads; see `cut_as_in_training`.

        Raises UserError if files cannot give it that, or if they are to be `drawn` over time and it takes them whole.
        """
        run = self.run
        if run.inputs.reads.mel_err:
            raise UserError(
                f"{run.folder}: takes mel_err, which needs a diffusion model; make elements with data/preprocess.py "
                "and score them with evaluate.py"
            )
        media = cut_as_in_training(media, run.media, hop=hop, whole_frame=whole_frame)
        if takes_whole_clips(run.config):
            if drawn:
                raise UserError(
                    f"{run.folder}: takes whole clips, without windows to draw over time; leave out the drawing"
                )
            keep = ["waveform"] if run.inputs.reads.frames is None else ["waveform", "frames"]
            return media.model_copy(update={"whole": True, "keep": keep, "max_seconds": longest_clip(run.config)})
        if run.inputs.reads.landmarks:
            return media.model_copy(update={"keep": [*media.keep, "landmarks"]})
        if run.inputs.reads.frames is None:
            return media.model_copy(update={"keep": ["waveform", "mel"], "whole": False})
        return media

    def judge(self, file: Path, found: Cut | Failure, *, explain: bool) -> Judged:
        """Return the verdict on a file that has been cut, or the reason why there is none."""
        if isinstance(found, Failure):
            return Judged(verdict(file, error=found.reason))
        run = self.audio_run if found.reading.video_stream is None else self.run
        if run is None:
            return Judged(verdict(file, error=f"no video stream; {self.run.config.kind} needs one"))
        try:
            seen = inspect(run, found.windows, explain=explain)
        except WorkError as error:
            return Judged(verdict(file, error=str(error)))
        decision = self.decisions[run.branches[-1]]
        line = verdict(file, seen, decision, reading=found.reading, left_out=found.left_out, domain=self.domain)
        return Judged(line, seen, decision.band.high)


def load_judge(folder: str, device: str, encoders: Sequence[Path], *, threshold: float | None) -> Judge:
    """Load a run to judge files, at a threshold or as validation has found. Raises UserError as `load_run` does."""
    run = load_run(folder, device, encoders)
    decisions = dict.fromkeys(run.branches, AT_ONE_HALF) | decisions_of(run.folder, run.sha256)
    if threshold is not None:
        band = Band(threshold, threshold)
        decisions = {branch: decision._replace(band=band) for branch, decision in decisions.items()}
    audio_run, known = audio_only(run), domain.load([run])
    if known is not None:
        run = with_distances(run, known.references[0])
        audio_run = audio_run and with_distances(audio_run, known.references[0])
    return Judge(run, audio_run, decisions, known)
