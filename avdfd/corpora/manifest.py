"""The manifest of a data set: a Parquet file with one row per video file."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from avdfd.core.clips import Clip, Entry
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.tiers import TIERS
from avdfd.corpora.inventory import Facts, Streams

VERSION = "2"
_KEY = b"avdfd.manifest"


class Row(NamedTuple):
    """A video file: what its data set says of it, what it is, and why it cannot be used. Labels: 1 is fake."""

    path: str
    """Relative to the root."""
    size: int | None
    mtime_ns: int | None
    sha256: str | None
    tier: str
    """Name of a tier, or "unknown" for a file of which nothing is known; it has an error then."""
    label: int | None
    label_video: int | None
    label_audio: int | None
    identities: tuple[str, ...]
    """Everybody in it: the person of the clip first, then swapped faces and borrowed voices."""
    base: str
    """Path of the clip that it was made from; its own if it is an original."""
    method: str
    race: str
    gender: str
    page: str
    """Where it was published."""
    split: str
    fake_periods: tuple[tuple[float, float], ...] | None
    """Start and end in seconds of what is fake, if that is not all of it."""
    duration: float | None
    video_codec: str | None
    fps: float | None
    width: int | None
    height: int | None
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None
    leading_silence: float | None
    """Seconds."""
    trailing_silence: float | None
    sound_hash: bytes | None
    picture_hash: bytes | None
    error: str
    """Why it cannot be used; empty if it can."""
    stopped_after: float | None
    """Seconds of the time limit at which examining it was stopped."""


_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        pa.field("tier", pa.string(), nullable=False),
        ("label", pa.int8()),
        ("label_video", pa.int8()),
        ("label_audio", pa.int8()),
        ("identities", pa.list_(pa.string())),
        ("base", pa.string()),
        ("method", pa.string()),
        ("race", pa.string()),
        ("gender", pa.string()),
        ("page", pa.string()),
        ("split", pa.string()),
        ("fake_periods", pa.list_(pa.list_(pa.float64()))),
        ("duration", pa.float64()),
        ("video_codec", pa.string()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("audio_codec", pa.string()),
        ("sample_rate", pa.int32()),
        ("channels", pa.int32()),
        ("leading_silence", pa.float64()),
        ("trailing_silence", pa.float64()),
        ("sound_hash", pa.binary()),
        ("picture_hash", pa.binary()),
        ("error", pa.string()),
        ("stopped_after", pa.float64()),
    ],
    metadata={_KEY: VERSION},
)


def make_row(entry: Entry, facts: Facts, stopped_after: float | None = None) -> Row:
    """A row from what the data set says of a file and what the file is; the data set's problem comes first."""
    clip, tier = entry.clip, TIERS.get(entry.clip.tier)
    return Row(
        path=clip.source,
        size=facts.size,
        mtime_ns=facts.mtime_ns,
        sha256=facts.sha256,
        tier=clip.tier,
        label=tier.label if tier else None,
        label_video=tier.video if tier else None,
        label_audio=tier.audio if tier else None,
        identities=clip.identities,
        base=clip.base,
        method=clip.method,
        race=clip.race,
        gender=clip.gender,
        page=clip.page,
        split=entry.split,
        fake_periods=clip.fake_periods,
        **facts.streams._asdict(),
        leading_silence=facts.leading_silence,
        trailing_silence=facts.trailing_silence,
        sound_hash=facts.sound_hash,
        picture_hash=facts.picture_hash,
        error=entry.problem or facts.error,
        stopped_after=stopped_after,
    )


def facts_of(row: Row) -> Facts:
    """What a row knows of its file."""
    streams = Streams(*(getattr(row, name) for name in Streams._fields))
    rest = {name: getattr(row, name) for name in Facts._fields if name != "streams"}
    return Facts(streams=streams, **rest)


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows in order of their path; the old file or the new one is there at any moment."""
    columns = zip(*sorted(rows, key=itemgetter(0)), strict=True) if rows else [()] * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest. Raises UserError if it is not there, damaged, or of another version."""
    table = _read(path, _SCHEMA.names)
    columns = [column.to_pylist() for column in table.columns]
    ids, periods = _SCHEMA.get_field_index("identities"), _SCHEMA.get_field_index("fake_periods")
    columns[ids] = [tuple(names) for names in columns[ids]]
    columns[periods] = [None if found is None else tuple(map(tuple, found)) for found in columns[periods]]
    return [Row(*values) for values in zip(*columns, strict=True)]


def clips_of(manifest: Path, root: Path, tiers: Iterable[str]) -> list[Clip]:
    """The usable clips of some tiers that a manifest lists, in order of their path, under the root of the videos.

    Raises UserError if the manifest cannot be read, or has no such clip.
    """
    wanted = set(tiers)
    names = ["path", "tier", "identities", "base", "method", "race", "gender", "page", "fake_periods", "error"]
    columns = [column.to_pylist() for column in _read(manifest, names).columns]
    clips = []
    for path, tier, people, base, method, race, gender, page, periods, error in zip(*columns, strict=True):
        if tier in wanted and not error:
            fake = None if periods is None else tuple(map(tuple, periods))
            clips.append(
                Clip(
                    path=root / path, source=path, tier=tier, identities=tuple(people), base=base, method=method,
                    race=race, gender=gender, fake_periods=fake, page=page,
                )
            )  # fmt: skip
    if not clips:
        raise UserError(f"{manifest}: no usable video files of the tiers {', '.join(sorted(wanted))}")
    return clips


class Listed(NamedTuple):
    """What a manifest lists of a file, as far as splits need it; `source` is its path."""

    source: str
    sha256: str
    tier: str
    identities: tuple[str, ...]
    base: str
    method: str
    race: str
    gender: str
    page: str
    error: str


def read_listed(manifest: Path) -> list[Listed]:
    """All files of a manifest, in order of their path. Raises UserError if it cannot be read."""
    table = _read(manifest, ["path", *Listed._fields[1:]])
    shared = {name: _shared(table[name]) for name in ("tier", "base", "method", "race", "gender", "page", "error")}
    people: dict[tuple[str, ...], tuple[str, ...]] = {}
    columns = {
        "path": table["path"].to_pylist(),
        "sha256": table["sha256"].to_pylist(),
        "identities": [people.setdefault(names, names) for names in map(tuple, table["identities"].to_pylist())],
        **shared,
    }
    return [Listed(*values) for values in zip(*(columns[name] for name in table.column_names), strict=True)]


def _shared(column: pa.ChunkedArray) -> list[str]:
    """Values of a column, equal ones as one string: of a million rows few have values of their own."""
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return [values[number] for number in encoded.indices.to_pylist()]


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; make it with data/preprocessing/make_manifest.py")
    try:
        schema = pq.read_schema(path)
        version = (schema.metadata or {}).get(_KEY, b"").decode()
        if version != VERSION:
            said = f"of version {version}, not {VERSION}" if version else "not a manifest of this project"
            raise UserError(f"{path}: {said}; make it again with data/preprocessing/make_manifest.py")
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a Parquet file, or damaged ({first}); delete it and make it again") from None
