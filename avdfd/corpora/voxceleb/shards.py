"""Extraction of the clips of some identities from the tar shards of a WebDataset, with a record per shard.

`<out>/.shards/<shard>.json` records how far a shard was read. It is written after the clips that it names, so that a
killed run resumes from it and only writes the later clips again.
"""

import errno
import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field, ValidationError, field_serializer

from avdfd.core.clips import AUDIO_SUFFIXES, SUFFIXES
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.journal import RecordFiles
from avdfd.core.leftovers import sweep
from avdfd.corpora.voxceleb.download import DownloadError, Hub, ShardStream
from avdfd.corpora.voxceleb.listing import Shard

T = TypeVar("T")

CLIP_SUFFIXES = SUFFIXES | AUDIO_SUFFIXES
"""Suffixes of members that are clips. In a WebDataset the suffix names a field of a sample, beside `.cls` and `.json`:
it chooses what is written, and the content decides what is read of it (avdfd/media/container.py)."""
LARGEST_CLIP = 1 << 28
"""Largest size in bytes of a member that counts as a clip; it is held in memory."""
SAVE_EVERY = 16 << 20
"""Bytes of a shard after which its state is written, which a killed run fetches again at most."""

_BUFFER = 1 << 16
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
_LARGEST_HEADER = 1 << 16
_LONGEST_SHOWN = 1000  # characters of a name
_LISTED = 1000  # refused members of a shard that are listed one by one
_REST = "(further members)"
_OF_THE_NAME = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ}
"""Errors of writing a file that the name of the member causes."""
_NAMELESS = "names no identity"
_IDENTITY = re.compile(r"(?<![A-Za-z0-9-])id\d+(?![A-Za-z0-9])")
_SAFE_NAME = re.compile(r"(?!\.)[\w\-. ]{1,200}", re.ASCII)  # for shells, file systems and our hidden files


class Clip(BaseModel):
    """A clip that was written."""

    sha256: str
    bytes: int


class ShardState(BaseModel):
    """State of a shard: how far it was read, for which identities, and its clips."""

    path: str
    size: int
    sha256: str | None
    wanted: frozenset[str] | None
    """Identities whose clips were taken up to `offset`; None for all."""
    offset: int = 0
    """Start of the first member that is not done."""
    done: bool = False
    checked: str = ""
    """Once done: "sha256" if the shard was read in one run, "size" if in several runs."""
    identities: set[str] = Field(default=set(), alias="people")
    """Identities with a clip in the part that was read."""
    clips: dict[str, Clip] = {}
    refused: dict[str, str] = {}
    """Member -> reason why it was not taken."""
    lost: list[str] = Field(default=[], exclude=True)
    """Clips that were deleted or changed afterwards."""

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return 0 if self.done else self.size - self.offset

    @field_serializer("identities", "wanted")
    def _sorted(self, value: set[str] | None) -> list[str] | None:
        return None if value is None else sorted(value)

    def save(self, out: Path) -> None:
        _records(out).write(_name(self.path), self.model_dump(mode="json", by_alias=True))

    def forget(self, out: Path) -> None:
        """Delete the clips and reset the state: the shard is damaged, so its clips may be damaged too."""
        for path in self.clips:
            (out / path).unlink(missing_ok=True)
        self.offset, self.done, self.identities, self.clips, self.refused = 0, False, set(), {}, {}

    def restart(self, wanted: frozenset[str] | None) -> None:
        self.wanted, self.offset, self.done = wanted, 0, False


def read_state(out: Path, shard: str) -> ShardState | None:
    """Return the state of a shard, or None if there is none yet. Raises UserError if its file is damaged."""
    records, name = _records(out), _name(shard)
    record = records.read(name)
    if record is None:
        return None
    try:
        return ShardState.model_validate(record)
    except ValidationError:
        raise records.damaged(name) from None


def _records(out: Path) -> RecordFiles:
    return RecordFiles(out / ".shards")


def _name(shard: str) -> str:
    return quote(shard, safe="")


def plan(shard: Shard, out: Path, wanted: frozenset[str] | None) -> ShardState:
    """Return the state from which to read on to get the clips of `wanted` (None: of all); changes no file.

    A shard is read again from its start if it has further wanted identities, or if some of its clips are gone.
    """
    state = read_state(out, shard.path) or ShardState(**shard._asdict(), wanted=wanted)
    if (state.size, state.sha256) != (shard.size, shard.sha256):
        return ShardState(**shard._asdict(), wanted=wanted)  # the file on the server was replaced
    state.lost = [name for name, clip in state.clips.items() if not _is_there(out / name, clip.bytes)]
    for name in state.lost:
        del state.clips[name]
    if state.lost:
        state.restart(state.wanted)
    if state.wanted is None or (wanted is not None and wanted <= state.wanted):
        return state
    if not state.done:
        state.restart(wanted)
    elif not (state.identities if wanted is None else wanted & state.identities) <= state.wanted:
        state.restart(None if wanted is None else wanted | state.wanted)
    return state


def fetch_shard(
    hub: Hub,
    shard: Shard,
    out: Path,
    wanted: frozenset[str] | None,
    on_bytes: Callable[[int], None] = lambda size: None,
    on_clip: Callable[[], None] = lambda: None,
) -> None:
    """Write the wanted clips of a shard that are missing, and its state, even if an exception ends the reading.

    `on_bytes` is called with the number of bytes after each read, `on_clip` after each clip. Raises DownloadError if
    the shard cannot be fetched, or if it is damaged, which deletes its clips; UserError if its clips are not
    VoxCeleb2's.
    """
    state = plan(shard, out, wanted)
    if state.done:
        return
    for name in state.lost:  # a changed clip would count as a file of the user
        (out / name).unlink(missing_ok=True)
    stream = ShardStream(hub, shard, state.offset, on_bytes)
    try:
        end = _take_members(stream, state, out, on_clip)
        state.checked = stream.finish()
        if stream.data_end > end:  # tarfile treats a broken header as the end
            raise tarfile.TarError(f"no header of a member at byte {end} of {shard.size}")
        state.done = True
    except tarfile.TarError as error:
        state.forget(out)
        raise DownloadError(f"damaged: {error}") from None
    finally:
        stream.close()
        state.save(out)


def _take_members(stream: ShardStream, state: ShardState, out: Path, on_clip: Callable[[], None]) -> int:
    """Read members to the end of the archive; return the end of the last member's data."""
    start = saved = end = state.offset
    nameless = 0
    source: Any = stream  # tarfile needs no more of a file than read()
    with _readable(lambda: tarfile.open(fileobj=source, mode="r|", bufsize=_BUFFER, tarinfo=_Member)) as tar:
        for member in _members(tar):
            state.offset = start + member.offset
            has_data = member.isreg() or member.type not in tarfile.SUPPORTED_TYPES
            end = start + member.offset_data + (member.size if has_data else 0)
            if state.offset - saved >= SAVE_EVERY:
                state.save(out)
                saved = state.offset
            if member.isdir():
                continue
            name = str(PurePosixPath(member.name))
            identity = identity_of(name)
            reason = why_refused(member, identity)
            if reason:
                shown = ascii(member.name)[1:-1][:_LONGEST_SHOWN]
                state.refused[shown if len(state.refused) < _LISTED else _REST] = reason
                nameless += reason == _NAMELESS
                if nameless == 100 and not state.identities:
                    raise UserError(
                        f"{state.path}: 100 clips such as {name}, and none names an identity like id00012; "
                        "is this VoxCeleb2? check --repo"
                    )
            elif identity is not None and PurePosixPath(name).suffix.lower() in CLIP_SUFFIXES:
                state.identities.add(identity)
                if name not in state.clips and (state.wanted is None or identity in state.wanted):
                    _take(tar, member, name, state, out)
                    on_clip()
    return end


class _Member(tarfile.TarInfo):
    """Member whose long name or extended header, which is held in memory, is skipped if it is too large."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            self.type = b"?"  # a member of unknown type, whose data are skipped
        return super()._proc_member(tar)  # type: ignore[misc]


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := _readable(tar.next)) is not None:
        yield member


def _readable(read: Callable[[], T]) -> T:
    """Return what tarfile reads. Raises tarfile.TarError for each kind of error by which it refuses a header."""
    try:
        return read()
    except (ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise tarfile.ReadError(f"a header that cannot be read ({error})") from None


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, state: ShardState, out: Path) -> None:
    file = tar.extractfile(member)
    assert file is not None, "it is a regular file"
    data = file.read()
    path = out / name
    try:
        if path.parent.is_dir():
            sweep(path.parent)
        if path.is_file() and path.read_bytes() != data:
            state.refused[name] = "another file with this name exists"
            return
        write_atomic(path, data)
    except OSError as error:
        if error.errno not in _OF_THE_NAME:
            raise
        state.refused[name] = f"cannot be written: {error.strerror}"
        return
    state.clips[name] = Clip(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def identity_of(name: str) -> str | None:
    """Return the first VoxCeleb2 identity in a key such as `id00012/21Uxsk56VDQ/00001.m4a`."""
    found = _IDENTITY.search(name)
    return found.group() if found else None


def why_refused(member: tarfile.TarInfo, identity: str | None) -> str:
    """Return why a member must not be written, or "". Also returns "" for members that are no clips, such as .cls."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "its path leads out of the folder"
    if not member.isreg() or member.sparse:
        return "it is not a regular file"
    if path.suffix.lower() not in CLIP_SUFFIXES:
        return ""
    if identity is None:
        return _NAMELESS
    if not all(_SAFE_NAME.fullmatch(part) for part in path.parts):
        return "its name has forbidden characters or is too long"
    return "" if member.size <= LARGEST_CLIP else f"larger than {LARGEST_CLIP >> 20} MiB"


class Summary(NamedTuple):
    """Content of an output folder."""

    identities: Counter[str]
    """Clips per identity."""
    size: int
    done: int
    """Number of shards that were read to the end."""
    whole: int
    """Number of those that were checked by their sha256."""
    refused: list[tuple[str, str, str]]
    """Shard, member, reason."""


def write_manifest(out: Path) -> Summary:
    """Write manifest.jsonl from the states of all shards, including those of earlier runs."""
    lines: dict[str, bytes] = {}
    identities: Counter[str] = Counter()
    size = done = whole = 0
    refused = []
    for name in _records(out):
        state = read_state(out, unquote(name))
        assert state is not None, "it was listed"
        done += state.done
        whole += state.done and state.checked == "sha256"
        refused += [(state.path, member, reason) for member, reason in state.refused.items()]
        for path, clip in state.clips.items():
            if path in lines:
                continue
            line = {"path": path, "sha256": clip.sha256, "bytes": clip.bytes, "shard": state.path}
            lines[path] = json.dumps(line).encode() + b"\n"
            identities[str(identity_of(path))] += 1
            size += clip.bytes
    write_atomic(out / "manifest.jsonl", b"".join(lines[name] for name in sorted(lines)))
    return Summary(identities, size, done, whole, refused)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
