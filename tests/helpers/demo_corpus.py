"""The built-in corpus as the script makes it, and packets, frames and samples of its clips."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from avdfd.core.tiers import Tier
from data.corpus.speech import RATE
from tests.paths import ROOT

SCRIPT = ROOT / "data" / "demo_corpus.py"
IDENTITIES = 12
CHECKED = 3  # identities whose clips are decoded


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, env=os.environ | environment)


def packets(path: Path) -> list[bytes]:
    """Return the encoded frames."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(video=0) if p.size]


def clips(root: Path, tier: Tier, identities: int = CHECKED) -> list[Path]:
    """Return the clips of the first identities, as many of each."""
    found = sorted((root / tier.folder).rglob("*.mp4"), key=lambda path: (path.parent.name, path.name))
    return found[: 2 * identities]


def grey_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)]).astype(np.float32)


def samples_of(path: Path) -> np.ndarray:
    """Samples placed by their presentation times."""
    with av.open(str(path)) as container:
        frames = [(round(float(f.pts * f.time_base) * RATE), f.to_ndarray()[0]) for f in container.decode(audio=0)]
    result = np.zeros(max(start + len(x) for start, x in frames), np.float32)
    for start, x in frames:
        result[start : start + len(x)] = x
    return result
