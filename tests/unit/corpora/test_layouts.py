"""Roots that a layout refuses."""

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import LAYOUTS, list_entries
from tests.helpers.layouts import touch


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_refuses_an_empty_root(tmp_path, layout):
    with pytest.raises(UserError, match=str(tmp_path)):
        list_entries(tmp_path, layout)


def test_wrong_layout_and_missing_root(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        list_entries(tmp_path / "missing")
    touch(tmp_path, "real/a.mp4")
    with pytest.raises(UserError, match="no metadata.json .* as LAV-DF has it"):
        list_entries(tmp_path, "lav-df")
    with pytest.raises(UserError, match="no video files in the layout voxceleb2 .*not named as in VoxCeleb2"):
        list_entries(tmp_path, "voxceleb2")
