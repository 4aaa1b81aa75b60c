"""Ceilings on what a media file may hold, so that a small file cannot ask for much memory or time.

They are above those of real recordings. A file beyond one is refused with a MediaError. docs/data.md lists them.
"""

from pathlib import Path

from avdfd.core.errors import MediaError

RATES = (4_000, 768_000)
"""Lowest and highest sample rate in Hz."""
CHANNELS = 64
PIXELS = 40_000_000
"""Most pixels of a frame; 8K video has 33 million."""
SIDE = 16_384
"""Longest side of a frame in pixels."""
PIXEL_ASPECT = 10.0
"""Largest ratio of the sides of a pixel."""
SECONDS = 4 * 3600.0
"""Longest audio, also from its beginning to the end of the file."""
_FREE_SECONDS = 600.0
_BYTES_PER_SECOND = 125
"""Audio of more than `_FREE_SECONDS` has at least 1 kbit/s: a few bytes could otherwise expand to gigabytes."""


def check_audio(rate: int, channels: int) -> None:
    """Raise MediaError for a sample rate or a number of channels that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{rate} samples a second; {RATES[0]} to {RATES[1]} are read")
    if not 1 <= channels <= CHANNELS:
        raise MediaError(f"{channels} audio channels; 1 to {CHANNELS} are read")


def check_frame(width: int, height: int, aspect: float = 1.0) -> None:
    """Raise MediaError for frames with too many pixels, as stored or with square pixels; `aspect` is that of a pixel.

    A size of 0, which is not known yet, passes.
    """
    if not 1 / PIXEL_ASPECT <= aspect <= PIXEL_ASPECT:
        raise MediaError(f"pixels with sides of {aspect:g} to 1; up to {PIXEL_ASPECT:g} to 1 are read")
    across = max(width, round(width * aspect))
    if across * height > PIXELS or max(across, height) > SIDE:
        raise MediaError(f"frames of {across}x{height} pixels; up to {PIXELS:,} with sides up to {SIDE:,} are read")


def longest_audio(path: str | Path) -> float:
    """Return the seconds of audio that a file of its size may have."""
    return min(SECONDS, max(_FREE_SECONDS, Path(path).stat().st_size / _BYTES_PER_SECOND))


def check_seconds(seconds: float, longest: float = SECONDS) -> None:
    """Raise MediaError if audio, or all of a file, is longer than `longest` seconds."""
    if seconds > longest:
        why = "; cut it" if longest == SECONDS else " of a file with fewer than 1 kbit/s"
        raise MediaError(f"longer than {longest / 60:.0f} minutes, the most that is read{why}")
