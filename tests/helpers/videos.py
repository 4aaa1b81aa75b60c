"""Small real video files for tests."""

from pathlib import Path

import av
import numpy as np


def make_video(
    path: Path, seconds: float = 4.0, *, fps: int = 25, rate: int = 16_000, size: int = 224, audio: str | None = "noise"
) -> Path:
    """Write H.264 video of brightening grey with AAC `audio`: "noise", "silence", or None for no audio stream."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        stream = container.add_stream("aac", rate=rate, layout="mono") if audio else None
        for number in range(round(seconds * fps)):
            image = np.full((size, size, 3), 40 + 2 * number % 180, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(video.encode())
        if stream:
            samples = rng.uniform(-0.3, 0.3, (1, round(seconds * rate))) * (audio == "noise")
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
            frame.rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path
