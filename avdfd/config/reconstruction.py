"""`mel_err`: the reconstruction error of an audio diffusion model, stored with the mel of an element."""

from typing import Literal

from avdfd.config.base import Positive, PositiveFloat, Section


class ReconstructionConfig(Section):
    """Diffusion model, and the conversion of a log mel to its input image."""

    model: str
    """Folder of a diffusers UNet2DModel with one channel (config.json and its weights), or of a pipeline with the model
    in unet/ and its noise schedule in scheduler/."""
    sha256: str
    """Expected sha256 of the file of weights."""
    steps: Positive = 20
    """DDIM steps to noise, and as many back."""
    scale: Literal["decibel", "zscore"] = "decibel"
    """Input scale of the model: decibels below the loudest bin mapped to -1 to 1, or log mels with mean 0 and standard
    deviation 1."""
    range_db: PositiveFloat = 80.0
    """Decibels below the loudest bin that map to -1; softer bins map to -1 too."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto is the GPU if there is one."""
