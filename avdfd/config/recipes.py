"""Training recipes, and files of weights: sections that several stages or published systems have."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, Fraction, NonNegative, PathName, Positive, PositiveFloat, Section


class OptimConfig(Section):
    """AdamW with linear warm-up and cosine decay."""

    lr: PositiveFloat = 3e-5
    """Highest learning rate."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay."""
    epochs: Positive = 50
    """Number of epochs."""
    warmup_epochs: Count = 5
    """Epochs of linear growth to lr."""
    min_lr_ratio: Fraction = 0.02
    """Learning rate at the end, relative to lr."""
    clip_norm: PositiveFloat = 1.0
    """Largest norm of the gradient."""
    batch_size: Positive = 32
    """Elements per step, of all processes together; stage 1 counts pairs (a fake and a real of the same identity)."""
    precision: Literal["fp32", "tf32", "bf16"] = "bf16"
    """On a GPU: bf16 autocasts the encoders, not heads, fusion and losses; tf32 rounds the inputs of every matrix
    product to 10 bits; fp32 is exact. A CPU always computes in fp32."""


class StageDataConfig(Section):
    """Elements of one stage of a baseline, if they are not those of `data`."""

    elements: PathName
    """As `data.elements`."""
    splits: PathName
    """As `data.splits`."""


class RecipeConfig(Section):
    """Training recipe of one stage of a baseline."""

    data: StageDataConfig | None = None
    """Elements and split lists of this stage, as of a data set of real clips; null for those of `data`."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimiser."""
    lr: PositiveFloat = 1e-4
    """Highest learning rate."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [0.9, 0.999])
    """Betas of Adam; the first is SGD's momentum."""
    weight_decay: NonNegative = 0.0
    """Weight decay."""
    new_lr_scale: PositiveFloat = 1.0
    """Learning rate, relative to lr, of the layers that the previous stage did not have."""
    warmup_epochs: Count = 0
    """Epochs of linear growth to lr."""
    schedule: Literal["constant", "halving", "plateau", "linear", "cosine"] = "constant"
    """Learning rate schedule. halving: at epoch `halve_from` and every `halve_every` epochs after it; plateau: after
    `plateau` epochs without a lower validation loss; linear and cosine: from `hold` on, or from the end of the warm-up,
    to zero after the last epoch."""
    hold: Count = 0
    """Epochs before a linear or cosine decay starts."""
    halve_from: Positive = 10
    """First epoch at which halving halves the learning rate."""
    halve_every: Positive = 5
    """Epochs between halvings."""
    plateau: Positive = 3
    """Epochs without a lower validation loss after which plateau reduces the learning rate."""
    plateau_factor: Fraction = 0.5
    """Factor by which plateau reduces the learning rate."""
    epochs: Positive = 30
    """Number of epochs."""
    batch_size: Positive = 8
    """Elements per step, of all processes together; VFD's finetune counts pairs (a fake and a real of one identity)."""
    micro_batch: Count = 0
    """Elements that a process holds in memory at once; gradients of a larger batch are accumulated. 0: no limit. For
    AVFF's finetune only; the other losses, or layers, need the whole batch."""
    clip_norm: NonNegative = 0.0
    """Largest norm of the gradient; 0: no limit."""
    precision: Literal["fp32", "tf32", "bf16"] = "bf16"
    """On a GPU: bf16 autocasts the encoders, not heads, fusion and losses; tf32 rounds the inputs of every matrix
    product to 10 bits; fp32 is exact. A CPU always computes in fp32."""


def takes_whole_batches(why: str, **stages: RecipeConfig) -> None:
    """Raise ValueError for a stage that is configured to accumulate gradients over parts of a batch."""
    for stage, recipe in stages.items():
        if recipe.micro_batch:
            raise ValueError(f"{stage}.micro_batch: {why}: set it to 0; more processes hold larger batches")


class WeightsConfig(Section):
    """Published weights, from a file that you supply."""

    file: str
    """Checkpoint: a state dict, in one of the wrappers that are published."""
    sha256: str | None = None
    """Expected sha256 of that file."""

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, value: Any) -> Any:
        """Take a plain string as the name of the file, as in `--model.openavff=stage-1.pth`."""
        return {"file": value} if isinstance(value, str) else value


class AvHubertConfig(WeightsConfig):
    """AV-HuBERT, frozen. The defaults are the sizes of the released large model; base has 12, 768, 12 and 3072."""

    encoder_layers: Positive = 24
    """Transformer layers."""
    dim: Positive = 1024
    """Width of the features; a multiple of heads and of 16."""
    heads: Positive = 16
    """Attention heads."""
    ffn_dim: Positive = 4096
    """Width of the feed-forward layers."""
    width: Positive = 64
    """Channels of the ResNet's first stage."""
    layer: Positive | None = None
    """Transformer layer whose output is taken, from 1, without the norm at the end; null: the end of the encoder, as
    published."""

    @model_validator(mode="after")
    def _fits(self) -> "AvHubertConfig":
        if self.dim % self.heads or self.dim % 16:
            raise ValueError(f"dim {self.dim} must be a multiple of heads and of 16, the groups of the positions")
        if self.layer is not None and self.layer > self.encoder_layers:
            raise ValueError(f"layer {self.layer} is more than the {self.encoder_layers} encoder_layers")
        return self


class ScoringConfig(Section):
    """How a system computes that is not trained."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """As in a training recipe."""
