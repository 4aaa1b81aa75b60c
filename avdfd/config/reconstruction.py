"""`mel_err`: the reconstruction error of an audio diffusion model, beside the mel of an element."""

from typing import Literal

from avdfd.config.base import Positive, PositiveFloat, Section


class ReconstructionConfig(Section):
    """The diffusion model, and how a log mel becomes its picture."""

    model: str
    """Folder of a diffusers UNet2DModel of one channel (config.json and its weights), or of a pipeline that has it in
    unet/ and its noise schedule in scheduler/."""
    sha256: str
    """Expected sha256 of the file of weights."""
    steps: Positive = 20
    """DDIM steps to noise, and as many back."""
    scale: Literal["decibel", "zscore"] = "decibel"
    """What the model was trained on: decibels below the loudest bin as -1 to 1, or log mels of mean 0, deviation 1."""
    range_db: PositiveFloat = 80.0
    """Decibels below the loudest bin that become -1; what is softer counts as that."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
