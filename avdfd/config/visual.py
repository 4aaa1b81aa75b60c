"""Visual encoder of stage 2, and the visual representations that stage 2a relates to audio."""

from typing import Any, Literal

from pydantic import model_validator

from avdfd.config.base import Normalisation, Positive, Section
from avdfd.config.recipes import AvHubertConfig


class VisualModelConfig(Section):
    """Stage-2 visual encoder (ViT over tubelets). The defaults are ViT-B as in MARLIN."""

    init: Literal["random", "marlin", "openavff"] = "random"
    """Source of the weights: random, a MARLIN file, or an encoder from OpenAVFF pre-training."""
    weights: str | None = None
    """File with the weights, unless init is random."""
    sha256: str | None = None
    """Expected sha256 of that file."""
    normalisation: Normalisation = "imagenet"
    """Normalisation of the frames: `unit`, RGB / 255, or also by the channel means and standard deviations of ImageNet.
    If it is left out, that of the initialisation: `unit` for marlin, which was trained so, else `imagenet`; with
    faithful always `imagenet`."""
    image_size: Positive = 224
    """Side of the frames in pixels; a multiple of 16."""
    dim: Positive = 768
    """Width of the tokens."""
    depth: Positive = 12
    """Transformer layers."""
    heads: Positive = 12
    """Attention heads; must divide dim."""

    @model_validator(mode="after")
    def _consistent(self) -> "VisualModelConfig":
        if self.image_size % 16:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch size 16")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if (self.init == "random") != (self.weights is None):
            raise ValueError(
                "weights is unused when init is 'random': remove it"
                if self.weights
                else f"init '{self.init}' needs weights: the path of the file, or use init 'random'"
            )
        if self.sha256 is not None and self.weights is None:
            raise ValueError("sha256 is unused without weights: remove it")
        return self


def normalised(visual: Any) -> Any:
    """Return the values of a `VisualModelConfig` with the normalisation of its initialisation, unless they have one."""
    if not isinstance(visual, dict) or "normalisation" in visual:
        return visual
    return {**visual, "normalisation": "unit" if visual.get("init") == "marlin" else "imagenet"}


class RepresentationConfig(Section):
    """Visual representation at 25 per second, whose movement stage 2a predicts. An encoder is frozen, and its features
    are computed once; the weights of a run refer to it by file and sha256."""

    kind: Literal["mouth-shape", "av-hubert", "vit"] = "mouth-shape"
    """Shape of the mouth from landmarks; AV-HuBERT's features of the lips; or the tokens of a ViT over tubelets, their
    mean over the face."""
    avhubert: AvHubertConfig | None = None
    """AV-HuBERT of kind av-hubert; its sha256 is required."""
    vit: VisualModelConfig | None = None
    """ViT of kind vit, from MARLIN's or OpenAVFF's file, as in the section `visual` of stage 2; its sha256 is
    required."""

    @model_validator(mode="before")
    @classmethod
    def _normalised_as_initialised(cls, values: Any) -> Any:
        return {**values, "vit": normalised(values["vit"])} if isinstance(values, dict) and "vit" in values else values

    @model_validator(mode="after")
    def _of_one_kind(self) -> "RepresentationConfig":
        for kind, name, encoder in (("av-hubert", "avhubert", self.avhubert), ("vit", "vit", self.vit)):
            if kind != self.kind and encoder is not None:
                raise ValueError(f"{name} is unused with kind '{self.kind}': leave it out, or set kind to '{kind}'")
            if kind == self.kind and (encoder is None or encoder.sha256 is None):
                raise ValueError(f"kind '{kind}' needs {name} with the file of its weights and their sha256")
        return self

    @property
    def encoder(self) -> AvHubertConfig | VisualModelConfig | None:
        """The encoder of this kind; None for the mouth shape."""
        return self.avhubert or self.vit
