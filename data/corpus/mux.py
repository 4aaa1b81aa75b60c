"""Codec chain of the built-in corpus, equal for all clips: H.264 by x264, AAC, MP4, fixed settings."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from avdfd.core.files import naming
from avdfd.media.mux import mux, read_packets
from data.corpus.face import SIZE
from data.corpus.mouth import FPS
from data.corpus.speech import RATE

# No B-frames: no frame depends on a later one, so that both streams start at 0 without an edit list.
# A bit rate that is kept to 1 % instead of a quality: otherwise a smooth patch would make the file of a fake smaller.
# No macroblock tree: on drawn frames, it gave different bytes for equal frames.
_X264 = {"preset": "veryfast", "threads": "1", "bf": "0", "g": "50", "x264-params": "ratetol=0.01:mbtree=0"}
_AAC_BITS_PER_SECOND = 64_000


def encode_video(frames: Iterable[np.ndarray], bit_rate: int) -> bytes:
    """Encode frames (224, 224, 3) BGR uint8 at `bit_rate` (bits/s) into an MP4 without audio. Clips with the same video
    share one encoding."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=_X264)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = bit_rate
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def write_clip(path: Path, video: bytes, audio: np.ndarray, partial: Path) -> None:
    """Write one clip: the packets of an encoded video, and audio (S,) float32. It is written in the folder `partial`
    and then moved to `path`."""
    waiting = partial / f"{path.parent.name}-{path.parents[3].name}-{path.name}"
    with av.open(io.BytesIO(video)) as source:
        stream = source.streams.video[0]
        with naming(path):
            waiting.write_bytes(mux(stream, read_packets(stream), audio, rate=RATE, bit_rate=_AAC_BITS_PER_SECOND))
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(waiting, path)
