"""Folders that tests read: this repository's, and the shared media, which may be absent."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SPEECH = SHARED / "speech"
CLIPS = SHARED / "clips"
VFD_SAMPLE = SHARED / "vfd_sample"
STORED = ROOT / "tests" / "stored"
