"""Runs of preprocess.py on recordings that are made for them."""

import csv
import json
from pathlib import Path

from data import preprocess
from tests.helpers.recordings import clicks, record


def video(path: Path, seconds: float = 3.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [n / 25 for n in range(round(25 * seconds))]
    return record(path, times, clicks(seconds, 16_000, [1.0]), rate=16_000)


def root(folder: Path) -> Path:
    """Two good clips, one without audio, one that is text."""
    video(folder / "real" / "anna.mp4")
    video(folder / "fake" / "anna__swap.mp4", 5)
    record(folder / "real" / "mute.mp4", [n / 25 for n in range(90)], None)
    (folder / "fake" / "text.mp4").write_text("no video")
    return folder


def many(folder: Path, count: int) -> Path:
    """Clips of two identities, one without audio."""
    for number in range(count):
        video(folder / "real" / f"anna__{number:02d}.mp4")
    record(folder / "real" / "bert__00.mp4", [n / 25 for n in range(90)], None)
    return folder


def config(tmp_path: Path, **values) -> Path:
    path = tmp_path / "preprocess.json"
    settings = {"kind": "preprocess", "input": str(tmp_path / "videos"), "output": str(tmp_path / "elements")}
    path.write_text(json.dumps({"workers": 1, "max_quarantined": 0.5, **settings, **values}))
    return path


def run(path: Path, *overrides: str) -> int:
    return preprocess.main(["--config", str(path), *overrides])


def quarantine(tmp_path: Path) -> dict[str, str]:
    with (tmp_path / "elements" / "quarantine.csv").open() as file:
        return {row["source"]: row["reason"] for row in csv.DictReader(file)}
