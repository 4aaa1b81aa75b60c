"""Choice of the audio and the video stream of a file, and the record of what reading them has shown.

A stream is taken as a player takes it: by its disposition, then the first that can be decoded. Its language is not
considered.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from avdfd.core.errors import MediaError
from avdfd.media.container import open_media
from avdfd.media.packets import all_packets

_APART = (
    av.stream.Disposition.attached_pic
    | av.stream.Disposition.still_image
    | av.stream.Disposition.timed_thumbnails
)  # fmt: skip
"""Never taken: images beside the film."""
_SECONDARY = (
    av.stream.Disposition.comment
    | av.stream.Disposition.lyrics
    | av.stream.Disposition.karaoke
    | av.stream.Disposition.hearing_impaired
    | av.stream.Disposition.visual_impaired
    | av.stream.Disposition.clean_effects
    | av.stream.Disposition.non_diegetic
    | av.stream.Disposition.descriptions
    | av.stream.Disposition.metadata
    | av.stream.Disposition.dependent
)  # fmt: skip
"""Taken only if there is no other."""
_SCRAP = 0.05
"""A video stream with less than this fraction of the packets of another one is a still or a preview, an audio stream of
less than this fraction of the time of another one what an editor or recorder left behind: their packets vary in length.
"""


@dataclass
class Reading:
    """Streams that are taken from a file, and what reading them has shown.

    A stream is given by its index in the container, as ffprobe numbers it; what is None is chosen and filled in.
    """

    audio_stream: int | None = None
    video_stream: int | None = None
    has_video: bool | None = None
    """True if the file has a video stream, taken or not; None until it is opened."""
    choices: int = 0
    """Streams that could have been taken in place of these."""
    damaged_frames: int = 0
    """Frames of audio and video that could not be decoded, or only in part, and were concealed."""
    dropped_frames: int = 0
    """Frames of the video that repeat or precede the time of another one, or refer to frames before the file."""
    notes: list[str] = field(default_factory=list)
    """Changes made to the audio, and gaps in it, in words."""

    def remarks(self) -> list[str]:
        """Return what is not ordinary about the file, as text."""
        streams = (("audio", self.audio_stream), ("video", self.video_stream)) if self.choices else ()
        chosen = [f"{kind} stream {i}" for kind, i in streams if i is not None]
        counts = {"damaged": self.damaged_frames, "dropped": self.dropped_frames}
        counted = [f"{count} {name} frame{'s' * (count > 1)}" for name, count in counts.items() if count]
        return [*chosen, *self.notes, *counted]

    def facts(self) -> dict[str, Any]:
        """Return what is not as in a file with one stream of a kind and without damage, for the record of a clip."""
        facts: dict[str, Any] = {}
        if self.choices:
            facts |= {"audio_stream": self.audio_stream, "video_stream": self.video_stream}
        counts = {"damaged_frames": self.damaged_frames, "dropped_frames": self.dropped_frames, "notes": self.notes}
        return facts | {name: value for name, value in counts.items() if value}


def candidates(container: Any, kind: str, index: int | None = None) -> list[Any]:
    """Return the streams of a kind, "video" or "audio", in the order in which they are to be tried.

    With an index there is only the stream that it names. Raises MediaError without a stream, or a decoder for one.
    """
    streams = [stream for stream in container.streams if stream.type == kind]
    if index is not None:
        known = ", ".join(str(stream.index) for stream in streams) or "none"
        streams = [stream for stream in streams if stream.index == index]
        if not streams:
            raise MediaError(f"no {kind} stream {index}; its {kind} streams are {known}")
    else:
        streams = [stream for stream in streams if not stream.disposition & _APART]
    if not streams:
        raise MediaError(f"no {kind} stream")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise MediaError(f"no decoder for its {kind} stream")
    if len(decodable) == 1:
        return decodable
    amounts = _amounts(container, decodable)

    def rank(stream: Any) -> tuple[Any, ...]:
        scrap = amounts[stream.index] < _SCRAP * max(amounts.values())
        main = bool(stream.disposition & av.stream.Disposition.default)
        pixels = stream.width * stream.height if kind == "video" else 0
        return scrap, bool(stream.disposition & _SECONDARY), not main, -pixels, stream.index

    return sorted(decodable, key=rank)


def has_video(path: str | Path) -> bool:
    """Return whether a file has a video stream, images beside the film excluded. Raises MediaError."""
    with open_media(path) as container:
        return has_stream(container, "video")


def has_stream(container: Any, kind: str) -> bool:
    """Return whether an open file has a stream of a kind, images beside the film excluded."""
    return any(stream.type == kind and not stream.disposition & _APART for stream in container.streams)


def first_stream(container: Any, kind: str, index: int | None = None) -> Any:
    """Return the stream of a kind, "video" or "audio", to be tried first. Raises MediaError as `candidates` does."""
    return candidates(container, kind, index)[0]


def _amounts(container: Any, streams: list[Any]) -> dict[int, float]:
    """Return the packets of video streams and the seconds of audio streams, from a container of its own: reading one
    cannot always be begun again."""
    amounts = dict.fromkeys((stream.index for stream in streams), 0.0)
    begins: dict[int, float] = {}
    with open_media(container.name.removeprefix("file:")) as copy:
        try:
            for packet in all_packets(copy, [copy.streams[index] for index in amounts]):
                index = packet.stream.index
                if packet.stream.type == "video":
                    amounts[index] += bool(packet.size)
                elif packet.pts is not None:
                    begin = packet.pts * packet.time_base
                    end = begin + (packet.duration or 0) * packet.time_base
                    amounts[index] = max(amounts[index], float(end - begins.setdefault(index, begin)))
        except av.FFmpegError:
            pass  # what is damaged is measured up to there
    return amounts
