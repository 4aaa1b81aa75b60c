"""The audio chain that all clips of a data set pass: `avdfd.media.chain`, `avdfd.media.remux`."""

from typing import Annotated

from pydantic import Field, model_validator

from avdfd.config.base import CodecConfig, Count, NonNegative, PositiveFloat, Section

Edge = Annotated[float, Field(ge=0, le=60)]
BitRate = Annotated[int, Field(gt=0, le=1_000_000)]


class ChainConfig(Section):
    """One audio chain for every clip, real or fake, so that storage of the audio reveals no fake."""

    rate: Annotated[int, Field(gt=0, le=96_000)] = 16_000
    """Samples per second in the file. Audio is read at 16,000, the rate of elements."""
    band: Annotated[float, Field(gt=0, le=7_600)] = 7_000.0
    """Upper edge of the band in Hz; everything above it is removed."""
    least_band: PositiveFloat = 3_500.0
    """Narrowest band in Hz. All versions of a recording get the band of the narrowest version, but at least this."""
    max_edge: Edge = 1.0
    """Largest number of seconds silenced at each end of a clip to match the other versions of its recording."""
    loudness: Annotated[float, Field(le=0)] = -26.0
    """Root mean square of a whole clip, in dB of full scale. Samples beyond full scale are clipped: at -26 dB these are
    peaks above 20 times the root mean square, which are rare in speech."""
    loudness_spread: NonNegative = 3.0
    """Half-width in dB of the range around `loudness` from which the loudness of a recording is drawn, the same for all
    its versions. With one value for all, the hundredths of a dB that AAC removes from one voice and not from another
    would reveal fakes."""
    noise: Annotated[float, Field(lt=0)] = -60.0
    """Root mean square of the noise added to every clip after its loudness is set, in dB of full scale."""
    codecs: list[CodecConfig] = Field(default_factory=list)
    """Lossy codecs. Every clip, real or fake, passes one of them, drawn by the clip's own name; empty: none."""
    draw: Count = 0
    """Number of the draw of `codecs`: each number assigns other codecs to the clips. One draw is one sample: report
    the mean of three or more, with `compare.py --pages`."""
    edge_silence: Annotated[list[Edge], Field(min_length=2, max_length=2)] | None = None
    """Shortest and longest silence in seconds at each end of an audio file. The edges of a recording are cut off and
    replaced by silence of a length drawn by its name, so that pages and synthesisers do not differ in it. `null`: edges
    are equal among the versions of a recording alone. A video keeps its edges, because its frames stay."""
    bit_rate: BitRate = 64_000
    """Bits per second of the AAC stream of a video. Audio without video is kept as WAV."""

    @model_validator(mode="after")
    def _consistent(self) -> "ChainConfig":
        if self.band > 0.475 * self.rate:
            raise ValueError(f"band {self.band:g} Hz leaves no room for a filter: at most 0.475 of rate {self.rate}")
        if self.edge_silence and self.edge_silence[0] > self.edge_silence[1]:
            raise ValueError("edge_silence: the shortest silence is longer than the longest")
        if self.least_band > self.band:
            raise ValueError(f"least_band {self.least_band:g} Hz is above band {self.band:g} Hz")
        quietest = self.loudness - self.loudness_spread
        if self.noise > quietest - 30:  # else the noise would not count as silence
            raise ValueError(f"noise {self.noise:g} dB must be 30 dB or more below the quietest clips, {quietest:g} dB")
        return self
