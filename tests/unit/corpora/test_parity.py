"""Records of codec parity."""

import json
from pathlib import Path

import pytest

from avdfd.config import ChainConfig
from avdfd.core.errors import UserError
from avdfd.corpora.parity import FORM, ParityRoot, Record
from avdfd.media.chain import Edges

SOURCE = "real/a.mp4"
FORMER = (
    '{"recording": "real/a.mp4", "stamp": [321338, 1795877264714663960], "version": ["0001", "0011", 7000.0], '
    '"edges": [0.41, 0.48], "band": 7000.0, "size": 3, "problem": "", "stopped_after": null}\n'
)
"""A record as written by earlier versions."""


def former_root(root: Path) -> Path:
    """A root as earlier versions left it."""
    (root / ".parity" / "real").mkdir(parents=True)
    (root / ".parity" / "settings.json").write_text(json.dumps({"form": FORM, **ChainConfig().model_dump()}, indent=1))
    (root / ".parity" / f"{SOURCE}.json").write_text(FORMER)
    (root / "real").mkdir()
    (root / SOURCE).write_bytes(b"mp4")
    return root


def test_root_of_an_earlier_version_resumes(tmp_path):
    root = ParityRoot(former_root(tmp_path / "out"), tmp_path / "in", ChainConfig())
    assert list(root.sources()) == [SOURCE]
    record = root.read(SOURCE)
    assert record is not None
    assert (record.stamp, record.edges, record.band) == ((321338, 1795877264714663960), Edges(0.41, 0.48), 7000.0)
    assert root.is_made(SOURCE, record)
    root.write(SOURCE, record)
    assert root.read(SOURCE) == record
    now = FORMER.replace("null}", 'null, "has_video": true}')
    assert (tmp_path / "out" / ".parity" / f"{SOURCE}.json").read_text() == now


def test_root_of_a_version_without_draws_and_edges_resumes(tmp_path):
    root = former_root(tmp_path / "out")
    known = json.loads((root / ".parity" / "settings.json").read_text())
    for key in ("draw", "edge_silence"):
        del known[key]
    (root / ".parity" / "settings.json").write_text(json.dumps(known))
    ParityRoot(root, tmp_path / "in", ChainConfig())
    with pytest.raises(UserError, match=r"chain\.draw was 0 and is now 1"):
        ParityRoot(root, tmp_path / "in", ChainConfig(draw=1))


def test_settings_of_an_earlier_version_are_compared(tmp_path):
    with pytest.raises(UserError, match=r"chain\.rate was 16000 and is now 44100"):
        ParityRoot(former_root(tmp_path / "out"), tmp_path / "in", ChainConfig(rate=44_100))


def test_a_clip_with_a_problem_has_no_file(tmp_path):
    root = ParityRoot(former_root(tmp_path / "out"), tmp_path / "in", ChainConfig())
    root.write(SOURCE, Record(SOURCE, (1, 2), problem="no audio stream"))
    assert not (root.root / SOURCE).exists()
    root.drop(SOURCE)
    assert root.read(SOURCE) is None
    assert list(root.sources()) == []
