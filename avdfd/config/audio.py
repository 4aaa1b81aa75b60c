"""The sound that all clips of a data set are given: `avdfd.media.chain`, `avdfd.media.remux`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, NonNegative, Positive, PositiveFloat, Section


class CodecConfig(Section):
    """A lossy codec that a sound goes through and comes back from."""

    name: Literal["aac", "mp3", "opus", "mulaw"]
    bit_rate: Count = 0
    """Bits per second; mulaw has no choice: 0."""

    @model_validator(mode="after")
    def _consistent(self) -> "CodecConfig":
        if (self.bit_rate == 0) != (self.name == "mulaw"):
            raise ValueError(f"bit_rate {self.bit_rate}: {self.name} takes {'0' if self.name == 'mulaw' else 'one'}")
        return self


class ChainConfig(Section):
    """One audio chain for every clip, real or fake, so that no fake is told by how its sound was stored."""

    rate: Positive = 16_000
    """Samples per second in the file. Sounds are read at 16,000, which is what elements hold."""
    band: Annotated[float, Field(gt=0, le=7_600)] = 7_000.0
    """Hz; nothing above it is left, whatever the source had."""
    least_band: PositiveFloat = 3_500.0
    """Hz; all versions of a recording get the band of the narrowest of them, but no narrower one than this."""
    max_edge: NonNegative = 1.0
    """Seconds at most that a clip is silenced at each end to be like the other versions of its recording."""
    loudness: Annotated[float, Field(le=0)] = -26.0
    """Root mean square of a whole clip, dB of full scale. What would go beyond full scale is clipped: at -26 dB that
    is a peak of 20 times the root mean square, which speech hardly has."""
    loudness_spread: NonNegative = 3.0
    """dB; the loudness of a recording is drawn up to this far from `loudness`, the same for all its versions. Were it
    one number for all, the hundredths of a dB that AAC takes from one voice and not from another would tell them."""
    noise: Annotated[float, Field(lt=0)] = -60.0
    """Root mean square of the noise that every clip gets, dB of full scale, after its loudness is set."""
    codecs: list[CodecConfig] = Field(default_factory=list)
    """Each clip goes through one of these, drawn by its own name, whatever it is; none: through none of them."""
    bit_rate: Positive = 64_000
    """Of the AAC stream of a video, bits per second. What has no picture is kept as WAV."""

    @model_validator(mode="after")
    def _consistent(self) -> "ChainConfig":
        if self.band > 0.475 * self.rate:
            raise ValueError(f"band {self.band:g} Hz leaves no room for a filter: at most 0.475 of rate {self.rate}")
        if self.least_band > self.band:
            raise ValueError(f"least_band {self.least_band:g} Hz is above band {self.band:g} Hz")
        quietest = self.loudness - self.loudness_spread
        if self.noise > quietest - 30:  # else the noise would not count as silence
            raise ValueError(f"noise {self.noise:g} dB must be 30 dB or more below the quietest clips, {quietest:g} dB")
        return self
