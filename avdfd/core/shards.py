"""Parts of a job that array tasks do side by side: which clips are whose, whatever else is in the data set."""

import re
import zlib
from typing import NamedTuple

from avdfd.core.errors import UserError


class Part(NamedTuple):
    """Part `number` of `of`; numbers start at 0, as those of array tasks do."""

    number: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, source: str) -> bool:
        """Whether a clip is of this part. It depends on its path alone, so that new clips move no others."""
        return zlib.crc32(source.encode()) % self.of == self.number


def parse_part(text: str) -> Part:
    """ "2/4" -> the third of four parts. Raises UserError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    part = Part(int(found[1]), int(found[2])) if found else Part(0, 0)
    if part.number >= part.of:
        raise UserError(f"--shard {text}: write i/n with i from 0 to n - 1, such as 0/4")
    return part
