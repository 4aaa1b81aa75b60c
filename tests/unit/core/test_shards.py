"""Parts of a job."""

import pytest

from avdfd.core.errors import UserError
from avdfd.core.shards import Part, parse_part


def test_every_clip_is_of_one_part_and_stays_there():
    sources = [f"RealVideo-RealAudio/Asian/men/id{n:05d}/00001.mp4" for n in range(4000)]
    taken = [[s for s in sources if Part(k, 4).takes(s)] for k in range(4)]
    assert sorted(s for part in taken for s in part) == sources
    assert all(900 < len(part) < 1100 for part in taken)
    assert all(Part().takes(source) for source in sources)


def test_parse():
    assert parse_part("2/4") == Part(2, 4)
    assert str(Part(2, 4)) == "2/4"


@pytest.mark.parametrize("text", ["4/4", "0/0", "-1/4", "1", "a/b", "1/4/2", ""])
def test_what_is_no_part(text):
    with pytest.raises(UserError, match="write i/n with i from 0 to n - 1"):
        parse_part(text)
