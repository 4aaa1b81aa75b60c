"""Shards of a job that several array tasks share. A clip's shard depends on its path alone."""

import re
import zlib
from typing import NamedTuple

from avdfd.core.errors import UserError

MOST_SHARDS = 100_000


class Shard(NamedTuple):
    """Shard `number` of `of`; numbers start at 0, like those of array tasks."""

    number: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, source: str) -> bool:
        """Return True if a clip belongs to this shard. New clips leave the shards of the others unchanged."""
        return zlib.crc32(source.encode()) % self.of == self.number


def parse_shard(text: str) -> Shard:
    """Parse "2/4" as the third of four shards. Raises UserError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if not shard.number < shard.of <= MOST_SHARDS:
        raise UserError(f"--shard {text}: write i/n with i from 0 to n - 1, such as 0/4, and n up to {MOST_SHARDS}")
    return shard
