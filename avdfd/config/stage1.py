"""`pretrain.py`: stage 1, the audio branch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import (
    Count,
    Fraction,
    NonNegative,
    PathName,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
    set_keys,
)
from avdfd.config.front import FrontConfig
from avdfd.config.recipes import OptimConfig


class AudioModelConfig(Section):
    """Stage-1 audio encoder and its heads. The defaults are the published sizes."""

    input: Literal["mel", "mel_err", "waveform"] = "mel"
    """Input: the log mel; its reconstruction error, which elements have if media.mel_err was set; or the waveform,
    from which the model computes a mel and `spectra`."""
    patches: Literal["pixels", "statistics"] = "pixels"
    """Content of a token: all points of its patch, or the patch's second-order statistics
    (`avdfd/features/statistics.py`), which do not depend on the words spoken."""
    spectra: list[Literal[128, 256, 512, 1024, 2048]] = Field(default_factory=list)
    """FFT sizes of the linear spectra computed from a waveform in addition to its mel; their statistics are used."""
    dim: Positive = 512
    """Width of the tokens."""
    depth: Count = 4
    """Transformer layers; statistics can do without."""
    heads: Positive = 4
    """Attention heads of a layer; must divide dim."""
    mlp_dim: Positive = 1024
    """Width of the feed-forward part of a layer."""
    dropout: Fraction = 0.1
    """Dropout probability."""
    patch_frames: Positive = 64
    """Mel frames per patch (4 ms each); must divide 768. With front, those of `spectra` alone."""
    projection_dim: Positive = 256
    """Width of the embedding that the contrastive and ordinal losses use."""
    score: Literal["trained", "fitted"] = "trained"
    """Source of the score: a head trained with the rest, as published; or a linear function of the statistics of a
    clip that is fitted before training (`avdfd/training/fitted.py`) and that the head only scales."""
    front: FrontConfig | None = None
    """A pretrained audio encoder, whose hidden states take the place of the patches. It takes the waveform; with
    patches 'statistics', those of the spectra are used in addition."""

    @model_validator(mode="after")
    def _divisible(self) -> "AudioModelConfig":
        if self.depth and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if 768 % self.patch_frames:
            raise ValueError(f"patch_frames {self.patch_frames} must divide the 768 mel frames of a window")
        if self.front is not None:
            if self.input != "waveform":
                raise ValueError(f"front takes the waveform: set input to 'waveform', not '{self.input}'")
            if self.patches == "statistics" and not self.spectra:
                raise ValueError("statistics beside front are those of spectra: name some, or leave patches out")
            if self.score == "fitted" and self.front.train_from is not None:
                raise ValueError("score 'fitted' is fitted once, before training: leave front.train_from out")
            if self.score != "fitted" and self.front.weighting != "equal":
                raise ValueError("front.weighting is of score 'fitted': leave it out, or set score to 'fitted'")
        elif (self.input == "waveform") != bool(self.spectra):
            raise ValueError(
                "input 'waveform' and spectra go together: a mel alone is read, not made, with input 'mel'"
            )
        if self.spectra and self.patches != "statistics":
            raise ValueError("spectra are used through their statistics: set patches to 'statistics'")
        if self.score == "fitted" and self.patches != "statistics" and self.front is None:
            raise ValueError("score 'fitted' is a function of statistics: set patches to 'statistics'")
        if any(size > 256 and self.patch_frames % (size // 256) for size in self.spectra):
            raise ValueError(f"patch_frames {self.patch_frames} must be a multiple of the largest of spectra / 256")
        return self


class Stage1LossConfig(Section):
    """Weights of the stage-1 losses."""

    temperature: PositiveFloat = 0.07
    """Temperature of the contrastive loss."""
    margin: NonNegative = 0.2
    """Growth of the mean distance to the real prototype from class to class."""
    supcon: NonNegative = 1.0
    """Weight of the supervised contrastive loss over the four classes."""
    auxiliary: NonNegative = 1.0
    """Weight of the real/fake BCE."""
    ordinal: NonNegative = 1.0
    """Weight of the ordinal ring."""
    ranking: NonNegative = 0.0
    """Weight of a loss that ranks the logit of each fake above that of its real partner. Properties that the two share,
    such as their page when pair_by is page, cancel. 0 is the published loss."""


OF_FITTED = ("fit_c", "fit_whiten", "fit_families")
"""Keys of PretrainConfig that fit a score."""


class PretrainConfig(RunConfig):
    """`pretrain.py`: stage 1, the audio branch."""

    kind: Literal["pretrain"] = "pretrain"
    model: AudioModelConfig = AudioModelConfig()
    pair_by: Literal["identity", "page"] = "identity"
    """Pairing of each fake: with a real element of its identity, or of the page that published it."""
    loss: Stage1LossConfig = Stage1LossConfig()
    optim: OptimConfig = OptimConfig()
    fit_c: PositiveFloat | Annotated[list[PositiveFloat], Field(min_length=1)] = 0.003
    """Inverse penalty of a fitted score (`model.score`): scikit-learn's C of a logistic regression. A list here or in
    fit_whiten has candidates; the pair is chosen on the training clips alone, by pages left out in turn that share no
    family of methods, identity or utterance with the clips fitted to (`avdfd/training/penalties.py`)."""
    fit_whiten: NonNegative | Annotated[list[NonNegative], Field(min_length=1)] = 0.0
    """Penalty of a fitted score on its variance among the real clips of a page (`pair_by`), relative to the penalty on
    its squared norm: the values are whitened by the covariance of real clips within pages. 0 is none. A list has
    candidates, as for fit_c."""
    fit_families: PathName = "data/splits/families.csv"
    """Table of families of methods (data/splits/README.md), by which the choice among candidates keeps pages apart."""

    @property
    def fit_candidates(self) -> tuple[list[float], list[float]]:
        """Candidates for fit_c and for fit_whiten."""
        one, other = (value if isinstance(value, list) else [value] for value in (self.fit_c, self.fit_whiten))
        return one, other

    @property
    def takes_waveforms(self) -> bool:
        return self.model.input == "waveform"

    @model_validator(mode="after")
    def _augments_its_input(self) -> "PretrainConfig":
        if self.model.input == "waveform" and self.augment.of_mels:
            raise ValueError(f"a waveform is not augmented as a mel: set {', '.join(self.augment.of_mels)} to 0")
        if self.augment.of_frames:
            raise ValueError(f"stage 1 takes no frames: set {', '.join(self.augment.of_frames)} to 0")
        return self

    @model_validator(mode="after")
    def _distinct_candidates(self) -> "PretrainConfig":
        for name, candidates in zip(("fit_c", "fit_whiten"), self.fit_candidates, strict=True):
            if len(set(candidates)) < len(candidates):
                raise ValueError(f"{name} has a candidate twice: {candidates}")
        return self

    @model_validator(mode="after")
    def _of_fitted_score(self) -> "PretrainConfig":
        for key in OF_FITTED:
            if self.model.score != "fitted" and key in set_keys(self):
                raise ValueError(f"{key} has no effect on a trained score: leave it out, or set model.score 'fitted'")
        return self
