"""The common sound of all clips of a data set: `avdfd.audio_chain` and `avdfd.remux`."""

from typing import Annotated

from pydantic import Field, model_validator

from avdfd.config.base import NonNegative, Positive, PositiveFloat, Section


class ChainConfig(Section):
    """One audio chain for every clip, real or fake, so that no fake is told by how its sound was stored."""

    rate: Positive = 16_000
    """Samples per second of the sound, in the chain and in the file."""
    band: PositiveFloat = 7_000.0
    """Hz; nothing above it is left, whatever the source had."""
    loudness: Annotated[float, Field(le=0)] = -26.0
    """Root mean square of a whole clip, dB of full scale. What would go beyond full scale is clipped: at -26 dB only
    sounds with peaks of 20 times their root mean square, which speech hardly has."""
    noise: Annotated[float, Field(lt=0)] = -60.0
    """Root mean square of the noise that is added to every clip, dB of full scale, after the loudness is set."""
    max_edge: NonNegative = 0.5
    """Seconds at most that a clip is silenced at each end to be like the other clips of its recording."""
    bit_rate: Positive = 64_000
    """Of the AAC stream, bits per second."""

    @model_validator(mode="after")
    def _consistent(self) -> "ChainConfig":
        if self.band > 0.475 * self.rate:
            raise ValueError(f"band {self.band:g} Hz leaves no room for a filter: at most 0.475 x rate")
        if self.noise > self.loudness - 10:
            raise ValueError(f"noise {self.noise:g} dB must be at least 10 dB below loudness {self.loudness:g} dB")
        return self
