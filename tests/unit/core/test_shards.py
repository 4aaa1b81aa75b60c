"""Shards of a job."""

import pytest

from avdfd.core.errors import UserError
from avdfd.core.shards import Shard, parse_shard


def test_every_clip_has_one_fixed_shard():
    sources = [f"RealVideo-RealAudio/Asian/men/id{n:05d}/00001.mp4" for n in range(4000)]
    taken = [[s for s in sources if Shard(k, 4).takes(s)] for k in range(4)]
    assert sorted(s for shard in taken for s in shard) == sources
    assert all(900 < len(shard) < 1100 for shard in taken)
    assert all(Shard().takes(source) for source in sources)


def test_parse():
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"


@pytest.mark.parametrize("text", ["4/4", "0/0", "-1/4", "1", "a/b", "1/4/2", ""])
def test_invalid_shard_is_refused(text):
    with pytest.raises(UserError, match="write i/n with i from 0 to n - 1"):
        parse_shard(text)
