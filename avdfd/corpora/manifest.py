"""The manifest of a data set: a Parquet file with one row per media file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avdfd.core.clips import (
    CLIP_DEFAULTS,
    CLIP_FIELDS,
    NO_VIDEO,
    PERIOD_FIELDS,
    UNKNOWN,
    VIDEO,
    Clip,
    ClipMeta,
    Entry,
)
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.periods import Periods, as_text
from avdfd.core.tiers import TIERS
from avdfd.core.tree import leads_out
from avdfd.corpora.inventory import FileFacts, Streams
from avdfd.corpora.left_out import LeftOut, of_another_tier

VERSION = "2"
_KEY = b"avdfd.manifest"
_DEFAULTS = {**CLIP_DEFAULTS, "audio_stream": None, "video_stream": None, "damaged_frames": None, "short": None}
"""Values of columns that manifests made before them do not have."""
_LABELS = ("label", "label_video", "label_audio")
"""Columns of labels, for other tools."""
_PLACED = ("source", "sha256", "tier", "identities")
"""Facts about a clip whose columns have a place, a name or a type of their own; the others are columns of strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow(ClipMeta):
    """A media file: what its data set states about it, and what reading it has shown."""

    file: FileFacts
    """Its `error` says why the clip cannot be used, for a reason in the data set's tables or in the file."""
    split: str = UNKNOWN
    """Split of the data set's own release."""
    fake_periods: Periods | None = None
    """Start and end in seconds of the fake segments, of either modality; None if the tier describes the whole clip."""
    stopped_after: float | None = None
    """Time limit in seconds after which reading the file was stopped; None if it was read to the end."""


_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        pa.field("tier", pa.string(), nullable=False),
        *((column, pa.int8()) for column in _LABELS),
        ("identities", pa.list_(pa.string())),
        *((name, pa.string()) for name in CLIP_FIELDS if name not in _PLACED),
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
        ("audio_stream", pa.int32()),
        ("video_stream", pa.int32()),
        ("leading_silence", pa.float64()),
        ("trailing_silence", pa.float64()),
        ("sound_hash", pa.binary()),
        ("picture_hash", pa.binary()),
        ("damaged_frames", pa.int32()),
        ("short", pa.bool_()),
        ("error", pa.string()),
        ("stopped_after", pa.float64()),
    ],
    metadata={_KEY: VERSION},
)


def make_row(entry: Entry, file: FileFacts, stopped_after: float | None = None) -> ManifestRow:
    """Return the row of a file. A problem in the data set's tables takes precedence over one in the file."""
    facts = {name: getattr(entry.clip, name) for name in CLIP_FIELDS}
    opened = file.streams.video_codec or file.streams.audio_codec
    has_video = (VIDEO if file.streams.video_codec else NO_VIDEO) if opened else UNKNOWN
    return ManifestRow(
        **{**facts, "sha256": file.sha256 or "", "has_video": has_video},
        file=file._replace(error=entry.problem or file.error),
        split=entry.split,
        fake_periods=entry.clip.fake_periods,
        stopped_after=stopped_after,
    )


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write rows atomically, in the order of their sources."""
    rows = sorted(rows, key=attrgetter("source"))
    arrays = [pa.array(_values(rows, field.name), field.type) for field in _SCHEMA]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def read_manifest(path: Path) -> list[ManifestRow]:
    """Return the rows of a manifest. Raises UserError if it does not exist, is damaged or of another version."""
    columns = _read(path, [name for name in _SCHEMA.names if name not in _LABELS])
    columns["streams"] = list(map(Streams, *(columns[name] for name in Streams._fields)))
    files = map(FileFacts, *(columns[name] for name in FileFacts._fields))
    names = [field.name for field in fields(ManifestRow) if field.name not in ("file", "sha256")]
    return [
        ManifestRow(**dict(zip(names, values, strict=True)), sha256=file.sha256 or "", file=file)
        for file, *values in zip(files, *(columns[name] for name in names), strict=True)
    ]


def choose(manifest: Path, root: Path, tiers: Iterable[str]) -> tuple[list[Clip], list[LeftOut]]:
    """Return the usable clips of some tiers that a manifest lists, and its other rows with their reasons, by source.

    `root` is the folder of the data set. Raises UserError if the manifest cannot be read, or has no such clip.
    """
    wanted = set(tiers)
    columns = _read(manifest, [*(name for name in CLIP_FIELDS if name != "sha256"), "fake_periods", "error"])
    clips, others = [], []
    for values in zip(*columns.values(), strict=True):
        known = dict(zip(columns, values, strict=True))
        error, source, tier = known.pop("error"), known["source"], known["tier"]
        if error or tier not in wanted:
            others.append(LeftOut(source, error or of_another_tier(tier)))
        else:
            clips.append(Clip(**known, path=root / source))
    if not clips:
        raise UserError(f"{manifest}: no usable media files of the tiers {', '.join(sorted(wanted))}")
    return clips, others


def read_clips(manifest: Path) -> tuple[list[ClipMeta], list[str]]:
    """Return the facts about the usable clips of a manifest, and the sources of the others, both by source.

    Raises UserError if the manifest cannot be read.
    """
    columns = _read(manifest, [*CLIP_FIELDS, "error"], shared=True)
    errors = columns.pop("error")
    clips, others = [], []
    for error, *values in zip(errors, *columns.values(), strict=True):
        if error:
            others.append(values[0])
        else:
            clips.append(ClipMeta(**dict(zip(columns, values, strict=True))))
    return clips, others


def _values(rows: Sequence[ManifestRow], column: str) -> list[Any]:
    if column in _LABELS:
        return [getattr(row, column) if row.tier in TIERS else None for row in rows]
    if column in Streams._fields:
        return [getattr(row.file.streams, column) for row in rows]
    if column in FileFacts._fields:
        return [getattr(row.file, column) for row in rows]
    return [getattr(row, "source" if column == "path" else column) for row in rows]


def _read(path: Path, names: Sequence[str], *, shared: bool = False) -> dict[str, list[Any]]:
    """Return columns of a manifest by name, `path` as source. Facts that the manifest does not have get their default.

    If `shared`, equal strings are one object: of a million rows, few have values of their own.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; make it with data/preprocessing/make_manifest.py")
    columns = ["path" if name == "source" else name for name in names]
    try:
        schema = pq.read_schema(path)
        version = (schema.metadata or {}).get(_KEY, b"").decode()
        if version != VERSION:
            said = f"of version {version}, not {VERSION}" if version else "not a manifest of this project"
            raise UserError(f"{path}: {said}; make it again with data/preprocessing/make_manifest.py")
        absent = _DEFAULTS.keys() - schema.names
        table = pq.read_table(path, columns=[name for name in columns if name not in absent])
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a Parquet file, or damaged ({first}); delete it and make it again") from None
    _check(table, path)
    found: dict[str, list[Any]] = {}
    for column in columns:
        name = "source" if column == "path" else column
        if column in absent:
            found[name] = [_DEFAULTS[column]] * len(table)
        elif column == "identities":
            groups: dict[tuple[str, ...], tuple[str, ...]] = {}
            found[name] = [groups.setdefault(group, group) for group in map(tuple, table[column].to_pylist())]
        elif column == "fake_periods":
            found[name] = [p if p is None else tuple(map(tuple, p)) for p in table[column].to_pylist()]
        elif shared and name not in ("source", "sha256"):
            found[name] = _shared(table[column])
        else:
            found[name] = table[column].to_pylist()
    if "fake_periods" in found:
        found |= {name: _of_modality(found, number) for number, name in enumerate(PERIOD_FIELDS) if name in absent}
    return found


def _check(table: pa.Table, path: Path) -> None:
    """Raise UserError for a column of another type, or a row whose file is not below the root."""
    for field in table.schema:
        known = _SCHEMA.field(field.name)
        if field.type != known.type or (not known.nullable and table[field.name].null_count):
            raise UserError(
                f"{path}: column '{field.name}' is not that of a manifest; make it again with "
                "data/preprocessing/make_manifest.py"
            )
    for source in table["path"].to_pylist() if "path" in table.schema.names else ():
        if leads_out(source):
            raise UserError(
                f"{path}: the row of {source!r} leads out of the root; remove it, or make the manifest again"
            )


def _of_modality(found: dict[str, list[Any]], number: int) -> list[str]:
    """Return the fake periods of the audio (0) or the video (1), for a manifest that has only those of either.

    Every modality that is fake, or may be, is then fake in all of them.
    """
    texts = []
    for name, periods in zip(found["tier"], found["fake_periods"], strict=True):
        fake = name in TIERS and TIERS[name].fake_modalities[number]
        texts.append(as_text(periods) if fake and periods else "")
    return texts


def _shared(column: pa.ChunkedArray) -> list[str]:
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return [values[number] for number in encoded.indices.to_pylist()]
