"""`data/preprocessing/clone_voices.py`: real clips -> clips with cloned voices."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.audio import ChainConfig
from avdfd.config.base import Count, Fraction, NonNegative, Positive, PositiveFloat, Section

Similarity = Annotated[float, Field(ge=-1, le=1)]
Steps = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Span = Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
Guidance = Annotated[list[Span], Field(min_length=1)]
Arguments = Annotated[list[str], Field(min_length=1)]
Clone = Literal["RVFA-SVC", "RVFA-VC"]
Name = Annotated[str, Field(pattern="^[a-z0-9]+$")]


class Ge2eConfig(Section):
    """The speaker encoder whose weights `setup.sh` installs."""

    kind: Literal["ge2e"] = "ge2e"


class EcapaConfig(Section):
    """ECAPA-TDNN by SpeechBrain, which is not among the requirements."""

    kind: Literal["ecapa"] = "ecapa"
    folder: str
    """Folder of `speechbrain/spkrec-ecapa-voxceleb` as it lies on the hub: hyperparams.yaml and the .ckpt files."""


class WorldConfig(Section):
    """The WORLD vocoder. Each candidate draws its settings from these ranges."""

    kind: Literal["world"] = "world"
    name: Name = "world"
    """Method that the clips are listed under, with `-vc` or `-svc` after it; so in every back end."""
    cepstrum: Steps = Field(default_factory=lambda: [24, 40])
    """Coefficients of the mel-cepstrum: fewer make a smoother spectrum."""
    smooth: Steps = Field(default_factory=lambda: [2, 5])
    """Frames of 5 ms that the cepstrum is averaged over."""
    flatten: Span = Field(default_factory=lambda: [0.0, 0.15])
    """How much of F0's movement is lost."""
    voiced_to: Span = Field(default_factory=lambda: [3000.0, 6000.0])
    """Hz above which the voice is noise only."""
    band: Span = Field(default_factory=lambda: [6000.0, 7500.0])
    """Hz from which on the band gives out ..."""
    missing: Span = Field(default_factory=lambda: [0.0, 10.0])
    """... and by how many dB."""

    @model_validator(mode="after")
    def _ordered(self) -> "WorldConfig":
        for key in ("cepstrum", "smooth", "flatten", "voiced_to", "band", "missing"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: the range [{low:g}, {high:g}] goes from the smaller to the larger value")
        return self


class SeedVcConfig(Section):
    """Seed-VC (Liu, 2024), version 2, from a checkout and an environment of its own; one process per GPU."""

    kind: Literal["seed-vc"] = "seed-vc"
    name: Name = "seedvc"
    checkout: str
    """Folder of the repository Plachtaa/seed-vc."""
    python: str
    """Python of the environment that its requirements are installed in."""
    gpus: list[str] = Field(default_factory=list)
    """Devices as in CUDA_VISIBLE_DEVICES; empty: those that the job sees, or else the first."""
    diffusion_steps: Positive = 25
    length_adjust: PositiveFloat = 1.0
    guidance: Guidance = Field(default_factory=lambda: [[0.7, 0.7]])
    """[intelligibility, similarity] guidance rates; candidates take them in turn."""
    top_p: Fraction = 0.9
    temperature: PositiveFloat = 1.0
    repetition_penalty: PositiveFloat = 1.0
    convert_style: bool = False
    """Also convert accent and rhythm, which moves the words away from the lips."""
    ar_checkpoint: str | None = None
    cfm_checkpoint: str | None = None
    """Files in place of the checkpoints that it downloads."""
    load_limit: PositiveFloat = 1800.0
    """Seconds until its models must be loaded, the first download of them included."""


class CommandConfig(Section):
    """Any program. It has to leave a sound file at {output}."""

    kind: Literal["command"] = "command"
    name: Name
    command: Arguments
    """Program and arguments, run without a shell; {source}, {reference}, {output} (.wav) and {seed} are filled in."""

    @model_validator(mode="after")
    def _complete(self) -> "CommandConfig":
        text = " ".join(self.command)
        for field in ("{source}", "{reference}", "{output}"):
            if field not in text:
                raise ValueError(f"command: no argument has {field} in it")
        return self


class ScoresConfig(Section):
    """What a candidate must reach. Scores are taken before the audio chain."""

    min_similarity: Similarity = 0.75
    """Cosine of its speaker embedding and the mean of the person's real recordings. With ge2e, 95 % of real recordings
    reach 0.75 against the mean of the others."""
    min_envelope: Similarity = 0.8
    """Correlation of the log-energy envelopes of candidate and source."""
    max_naturalness_drop: NonNegative = 0.5
    """DNSMOS P.835 speech quality (1 to 5) that it may be below the source's own."""
    max_wer: NonNegative = 0.2
    """Word error rate against what the recogniser hears in the source."""
    recogniser: list[str] = Field(default_factory=list)
    """A program that prints the words of {sound}; empty: words are not compared."""
    hardest: Literal["similarity", "naturalness"] = "similarity"
    """Of the candidates that pass, the one with the highest value of this is kept."""

    @model_validator(mode="after")
    def _complete(self) -> "ScoresConfig":
        if self.recogniser and "{sound}" not in " ".join(self.recogniser):
            raise ValueError("recogniser: no argument has {sound} in it")
        return self


class CloneConfig(Section):
    """`data/preprocessing/clone_voices.py`: real clips -> clips with cloned voices."""

    kind: Literal["clone"] = "clone"
    input: str
    """Root with FakeAVCeleb's folders; its RVRA clips are cloned."""
    output: str
    """Root of the clips that are made, in the same folders."""
    recordings: str = ""
    """Another root with video or sound of the same people, `.../<identity>/.../<file>`, such as VoxCeleb2."""
    tiers: Annotated[tuple[Clone, ...], Field(min_length=1, strict=False)] = ("RVFA-SVC", "RVFA-VC")
    backend: WorldConfig | SeedVcConfig | CommandConfig = Field(default=WorldConfig(), discriminator="kind")
    encoder: Ge2eConfig | EcapaConfig = Field(default=Ge2eConfig(), discriminator="kind")
    candidates: Positive = 4
    """Conversions of each clip and tier."""
    references: Positive = 2
    """RVFA-VC: how many of the most similar other recordings the candidates take in turn."""
    seed: Count = 0
    scores: ScoresConfig = ScoresConfig()
    chain: ChainConfig = ChainConfig()
    raw: bool = False
    """Write the clones alone, lossless and not through the chain: to go through it together with the other tiers of
    their recordings, by codec_parity.py."""
    workers: Count = 0
    """Worker processes; 0 = one per core, with seed-vc one per GPU."""
    time_limit: PositiveFloat = 300.0
    """Seconds of one conversion, and of reading one recording."""
    give_up: Positive = 5
    """End the run when none of the first so many clips could be converted."""
    max_problems: Fraction = 0.05
    """Exit with 1 when a larger part of the wanted clones could not be made."""
