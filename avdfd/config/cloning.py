"""`data/preprocessing/clone_voices.py`: real clips -> clips with cloned voices."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.audio import ChainConfig
from avdfd.config.base import Fraction, NonNegative, PathName, Positive, PositiveFloat, Section, Seed, Workers

Similarity = Annotated[float, Field(ge=-1, le=1)]
Steps = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Span = Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
Guidance = Annotated[list[Span], Field(min_length=1)]
Arguments = Annotated[list[str], Field(min_length=1)]
Clone = Literal["RVFA-SVC", "RVFA-VC"]
Name = Annotated[str, Field(pattern="^[a-z0-9]+$")]


class Ge2eConfig(Section):
    """GE2E speaker encoder, whose weights `setup.sh` installs."""

    kind: Literal["ge2e"] = "ge2e"
    """Selects this encoder."""


class EcapaConfig(Section):
    """ECAPA-TDNN speaker encoder of SpeechBrain, which is not among the requirements."""

    kind: Literal["ecapa"] = "ecapa"
    """Selects this encoder."""
    folder: str
    """Folder with the files of `speechbrain/spkrec-ecapa-voxceleb` on the hub: hyperparams.yaml and the .ckpt files.

    SpeechBrain makes the objects that hyperparams.yaml names, so a file that names others than those of this encoder is
    refused. Take the files from their publisher all the same."""


class WorldConfig(Section):
    """WORLD vocoder. Each candidate draws its settings from these ranges."""

    kind: Literal["world"] = "world"
    """Selects this back end."""
    name: Name = "world"
    """Method name under which clips are listed, with the suffix `-vc` or `-svc`."""
    cepstrum: Steps = Field(default_factory=lambda: [24, 40])
    """Coefficients of the mel-cepstrum: fewer give a smoother spectrum."""
    smooth: Steps = Field(default_factory=lambda: [2, 5])
    """Frames of 5 ms over which the cepstrum is averaged."""
    flatten: Span = Field(default_factory=lambda: [0.0, 0.15])
    """Fraction of the variation of F0 that is removed."""
    voiced_to: Span = Field(default_factory=lambda: [3000.0, 6000.0])
    """Frequency in Hz above which the voice is noise only."""
    band: Span = Field(default_factory=lambda: [6000.0, 7500.0])
    """Frequency in Hz above which the spectrum is attenuated."""
    missing: Span = Field(default_factory=lambda: [0.0, 10.0])
    """Attenuation above `band` in dB."""

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
    """Selects this back end."""
    name: Name = "seedvc"
    """Method name under which clips are listed, with the suffix `-vc` or `-svc`."""
    checkout: str
    """Folder of the repository Plachtaa/seed-vc."""
    python: str
    """Python of the environment in which its requirements are installed."""
    gpus: list[str] = Field(default_factory=list)
    """Devices as in CUDA_VISIBLE_DEVICES; empty: those visible to the job, or else the first."""
    diffusion_steps: Positive = 25
    """Steps of the diffusion model."""
    length_adjust: PositiveFloat = 1.0
    """Length of the conversion relative to the source."""
    guidance: Guidance = Field(default_factory=lambda: [[0.7, 0.7]])
    """[intelligibility, similarity] guidance rates; candidates use them in turn."""
    top_p: Fraction = 0.9
    """Nucleus of the autoregressive model's sampling."""
    temperature: PositiveFloat = 1.0
    """Temperature of that sampling."""
    repetition_penalty: PositiveFloat = 1.0
    """Repetition penalty of that sampling."""
    convert_style: bool = False
    """Also convert accent and rhythm, which moves the words away from the lips."""
    ar_checkpoint: str | None = None
    """File in place of the autoregressive checkpoint that it downloads."""
    cfm_checkpoint: str | None = None
    """File in place of the flow-matching checkpoint that it downloads."""
    load_limit: PositiveFloat = 1800.0
    """Seconds allowed for loading its models, including their first download."""


class CommandConfig(Section):
    """Any program that writes an audio file to {output}."""

    kind: Literal["command"] = "command"
    """Selects this back end."""
    name: Name
    """Method name under which clips are listed, with the suffix `-vc` or `-svc`."""
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
    """Requirements for a candidate. Scores are taken before the audio chain."""

    min_similarity: Similarity = 0.75
    """Smallest cosine similarity of its speaker embedding to the mean of the identity's real recordings. With ge2e,
    95 % of real recordings reach 0.75 against the mean of the others."""
    min_envelope: Similarity = 0.8
    """Smallest correlation of the log-energy envelopes of candidate and source."""
    max_naturalness_drop: NonNegative = 0.5
    """Largest drop of DNSMOS P.835 speech quality (1 to 5) below the source's own."""
    max_wer: NonNegative = 0.2
    """Largest word error rate against the recogniser's words of the source."""
    recogniser: list[str] = Field(default_factory=list)
    """Program that prints the words of {sound}; empty: words are not compared."""
    hardest: Literal["similarity", "naturalness"] = "similarity"
    """Score by which the hardest of the passing candidates is chosen: the highest is kept."""

    @model_validator(mode="after")
    def _complete(self) -> "ScoresConfig":
        if self.recogniser and "{sound}" not in " ".join(self.recogniser):
            raise ValueError("recogniser: no argument has {sound} in it")
        return self


class CloneConfig(Section):
    """`data/preprocessing/clone_voices.py`: real clips -> clips with cloned voices."""

    kind: Literal["clone"] = "clone"
    input: PathName
    """Root with FakeAVCeleb's folders; its RVRA clips are cloned."""
    output: PathName
    """Root of the clones, in the same folders."""
    recordings: str = ""
    """Another root with video or audio of the same identities, `.../<identity>/.../<file>`, such as VoxCeleb2."""
    tiers: Annotated[tuple[Clone, ...], Field(min_length=1, strict=False)] = ("RVFA-SVC", "RVFA-VC")
    """Tiers to make."""
    backend: WorldConfig | SeedVcConfig | CommandConfig = Field(default=WorldConfig(), discriminator="kind")
    """Voice conversion."""
    encoder: Ge2eConfig | EcapaConfig = Field(default=Ge2eConfig(), discriminator="kind")
    """Speaker encoder."""
    candidates: Positive = 4
    """Conversions of each clip and tier."""
    references: Positive = 2
    """RVFA-VC: number of the most similar other recordings that the candidates use in turn."""
    seed: Seed = 0
    """Seed of the candidates' settings."""
    scores: ScoresConfig = ScoresConfig()
    chain: ChainConfig = ChainConfig()
    raw: bool = False
    """Write the clones alone, lossless and without the chain, so that codec_parity.py can process them together with
    the other tiers of their recordings."""
    workers: Workers = 0
    """Worker processes; 0 = one per core, with seed-vc one per GPU."""
    time_limit: PositiveFloat = 300.0
    """Seconds allowed for one conversion, and for reading one recording."""
    give_up: Positive = 5
    """Number of clips after which the run ends if none of them could be converted."""
    max_problems: Fraction = 0.05
    """Exit with 1 if a larger fraction of the requested clones could not be made."""
