"""The settings of the media that a store was made with."""

import json

import pytest

from avdfd.config import FaceConfig, MediaConfig
from avdfd.core.errors import UserError
from avdfd.elements import ElementWriter
from avdfd.elements.layout import STORE, media_of


def test_the_settings_of_the_media_are_read_back(tmp_path):
    flat = {"form": 2, "media.hop": 1.5, "media.keep": ["waveform", "frames"], "media.mel_err": None}
    for name, face in (("whole", {"media.face": None}), ("faces", {"media.face.margin": 2.0})):
        with ElementWriter(tmp_path / name, {**flat, **face}):
            pass
    assert media_of(tmp_path / "whole") == MediaConfig(hop=1.5, keep=["waveform", "frames"], face=None)
    assert media_of(tmp_path / "faces") == MediaConfig(
        hop=1.5, keep=["waveform", "frames"], face=FaceConfig(margin=2.0)
    )
    with ElementWriter(tmp_path / "other", {"made": "up"}):
        pass
    assert media_of(tmp_path / "other") is None
    assert media_of(tmp_path) is None, "not a store"
    (tmp_path / "faces" / STORE).write_text(json.dumps({"settings": {"media.hop": "long"}}))
    with pytest.raises(UserError, match=r"store.json: key 'hop'"):
        media_of(tmp_path / "faces")
