"""The folder of cloned clips: the records of each shard, and the lists of all shards.

<tier folder>/<race>/<gender>/<identity>/<clip>.mp4        RVRA; the names of clones end in _<method>
meta_data.csv     FakeAVCeleb's table of the clips         clones.jsonl   a line per real clip and tier: scores
problems.csv      missing clones and their reasons         .clones/       settings and the records of the shards
"""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from avdfd.config import CloneConfig
from avdfd.core.files import locked, write_atomic, write_csv
from avdfd.core.journal import SETTINGS, Journal, Record, claim, refuse_changes, refuse_overlap, vanished
from avdfd.core.shards import Shard
from avdfd.core.tiers import RVRA, TIERS
from avdfd.corpora.cloning.clips import Made, method
from avdfd.corpora.fakeavceleb import TABLE

STATE = ".clones"
FORM = 1  # version of the code that makes clips: counts as a setting

_COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")
_OF_THE_RUN = {
    "kind", "input", "output", "recordings", "workers", "time_limit", "give_up", "max_problems",
    "backend.checkout", "backend.python", "backend.gpus", "backend.load_limit",
}  # fmt: skip


class Output:
    """One shard of the output, as a context manager.

    Raises UserError if the folder holds other files or overlaps the input, was made with other settings or another
    number of shards, or if another run is writing to this shard.
    """

    def __init__(self, cfg: CloneConfig, shard: Shard) -> None:
        self.cfg, self.shard = cfg, shard
        self.root = Path(cfg.output)
        self._state = self.root / STATE
        self._name = f"{shard.number}-of-{shard.of}"
        self.spool = self._state / f"{self._name}.spool"

    def __enter__(self) -> "Output":
        self._claim()
        with ExitStack() as stack:
            stack.enter_context(locked(self._state / f"{self._name}.lock", self.root))
            shutil.rmtree(self.spool, ignore_errors=True)  # left by a killed run
            self.spool.mkdir()
            stack.callback(shutil.rmtree, self.spool, ignore_errors=True)
            voices, clips = (self._state / f"{self._name}.{name}.jsonl" for name in ("voices", "clips"))
            self.voices = stack.enter_context(Journal(voices, append=True, sync=True))
            self.clips = stack.enter_context(Journal(clips, append=True, sync=True))
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self.voices.compact()
            self.clips.compact()
            self._write_lists()

    def is_done(self, source: str, inputs: str) -> bool:
        """Return True if a clip was made from the current recordings of its identity."""
        record = self.clips.get(source)
        if record is None or record["again"] or record["inputs"] != inputs:
            return False
        return all((self.root / path).is_file() for path in record["files"].values())

    def add(self, made: Made) -> None:
        """Move the files of a clip into place, then record it."""
        self._remove_files(made.record["source"])
        for tier, waiting in made.files.items():
            path = self.root / made.record["files"][tier]
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(waiting, path)
        self.clips.add(made.record)

    def keep_only(self, sources: Collection[str], recordings: Collection[str]) -> int:
        """Remove clips and recordings that no longer exist; return the number of removed clips."""
        gone = vanished(self.root, self.clips, sources, Path(self.cfg.input))
        for source in gone:
            self._remove_files(source)
            self.clips.remove(source)
        for source in self.voices.keys() - set(recordings):
            self.voices.remove(source)
        return len(gone)

    def _remove_files(self, source: str) -> None:
        for path in self.clips.get(source, {"files": {}})["files"].values():
            (self.root / path).unlink(missing_ok=True)

    def _claim(self) -> None:
        refuse_overlap(self.root, Path(self.cfg.input))
        now = settings(self.cfg, self.shard)
        refuse_changes(self.root, claim(self.root, self._state / SETTINGS, now, holds="cloned clips"), now)

    def _write_lists(self) -> None:
        with locked(self._state / "lock", self.root, wait=True):
            clips = _merged(self._state.glob("*.clips.jsonl"))
            voices = _merged(self._state.glob("*.voices.jsonl"))
            clones = [line for record in clips for line in sorted(record["clones"], key=lambda line: str(line["tier"]))]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in clones)
            write_atomic(self.root / "clones.jsonl", text.encode())
            problems = [
                *((voice["source"], "", voice["reason"]) for voice in voices if "reason" in voice),
                *((record["source"], "", record["reason"]) for record in clips if "reason" in record),
                *((line["source"], line["tier"], line["reason"]) for line in clones if line["reason"]),
            ]
            write_csv(self.root / "problems.csv", [("source", "tier", "reason"), *sorted(problems)])
            write_csv(self.root / TABLE, [_COLUMNS, *sorted(_rows(clips, self.cfg), key=lambda row: row[5:])])


def settings(cfg: CloneConfig, shard: Shard) -> dict[str, Any]:
    """Return the settings that the clips depend on, by config key."""
    flat: dict[str, Any] = {"form": FORM, "parts": shard.of}
    for key, value in cfg.model_dump(mode="json").items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items() if f"{key}.{name}" not in _OF_THE_RUN}
        elif key not in _OF_THE_RUN:
            flat[key] = value
    return flat


def _rows(clips: Iterable[Record], cfg: CloneConfig) -> Iterable[tuple[str, ...]]:
    """Yield FakeAVCeleb's rows: its categories are A for RVRA and B for RVFA."""
    for record in clips:
        for name, file in record["files"].items():
            tier, path = TIERS[name], PurePosixPath(file)
            race, gender, identity = path.parts[1:4]
            how = (method(tier, cfg), "A" if tier is RVRA else "B", tier.folder)
            yield (identity, "-", "-", *how, race, gender, path.name, f"FakeAVCeleb/{path.parent.as_posix()}")


def _merged(journals: Iterable[Path]) -> list[Record]:
    records: dict[str, Record] = {}
    for path in sorted(journals):
        with Journal(path) as journal:
            records |= journal
    return [records[source] for source in sorted(records)]
