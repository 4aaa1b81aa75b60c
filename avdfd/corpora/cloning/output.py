"""The folder of cloned clips: what is done, by shard, and the lists of all shards.

<tier folder>/<race>/<gender>/<identity>/<clip>.mp4        RVRA; clones have _<method> behind the clip's name
meta_data.csv     FakeAVCeleb's table of the clips         clones.jsonl   a line per real clip and tier: scores
problems.csv      clones that are not there, and why       .clones/       settings and the records of the shards
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from avdfd.config import CloneConfig
from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, held, overlap, refuse_changes, write_atomic, write_csv
from avdfd.core.shards import Shard
from avdfd.core.tiers import RVRA, TIERS
from avdfd.corpora.cloning.clips import Made, method
from avdfd.corpora.cloning.journal import Journal, Record, read_journal
from avdfd.corpora.fakeavceleb import TABLE

STATE = ".clones"
FORM = 1  # of what the code makes: a change of it is a change of settings

_COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")
_OF_THE_RUN = {
    "kind", "input", "output", "recordings", "workers", "time_limit", "give_up", "max_problems",
    "backend.checkout", "backend.python", "backend.gpus", "backend.load_limit",
}  # fmt: skip


class Output:
    """One shard of the output, as a context manager.

    Raises UserError if the folder holds something else or overlaps the input, was made with other settings or in
    another number of shards, or if another run works on this shard.
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
            stack.enter_context(held(self._state / f"{self._name}.lock", self.root))
            shutil.rmtree(self.spool, ignore_errors=True)  # of a run that was killed
            self.spool.mkdir()
            stack.callback(shutil.rmtree, self.spool, ignore_errors=True)
            self.voices = Journal(self._state / f"{self._name}.voices.jsonl")
            self.clips = Journal(self._state / f"{self._name}.clips.jsonl")
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self.voices.settle()
            self.clips.settle()
            self._write_lists()

    def is_done(self, source: str, inputs: str) -> bool:
        """Whether a clip has been made from the recordings of its person as they are now."""
        record = self.clips.records.get(source)
        if record is None or record["again"] or record["inputs"] != inputs:
            return False
        return all((self.root / path).is_file() for path in record["files"].values())

    def add(self, made: Made) -> None:
        """Moves the files of a clip into place and notes it, in this order."""
        self._remove_files(made.record["source"])
        for tier, waiting in made.files.items():
            path = self.root / made.record["files"][tier]
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(waiting, path)
        self.clips.add(made.record)

    def keep_only(self, sources: Iterable[str], recordings: Iterable[str]) -> int:
        """Drops clips and recordings that are not there any more; returns the number of clips dropped."""
        gone = self.clips.records.keys() - set(sources)
        if gone and gone == self.clips.records.keys():
            raise UserError(f"{self.root}: none of its clips is under {self.cfg.input}; choose another output")
        for source in gone:
            self._remove_files(source)
            del self.clips.records[source]
        for source in self.voices.records.keys() - set(recordings):
            del self.voices.records[source]
        return len(gone)

    def _remove_files(self, source: str) -> None:
        for path in self.clips.records.get(source, {"files": {}})["files"].values():
            (self.root / path).unlink(missing_ok=True)

    def _claim(self) -> None:
        if overlap(self.root, Path(self.cfg.input)):
            raise UserError(f"{self.root}: output and input {self.cfg.input} lie within each other; choose another")
        ensure_writable(self.root)
        if not self._state.is_dir() and any(self.root.iterdir()):
            raise UserError(f"{self.root}: holds other files and no cloned clips; choose another output")
        self._state.mkdir(exist_ok=True)
        note, now = self._state / "settings.json", settings(self.cfg, self.shard)
        with held(self._state / "lock", self.root, wait=True):
            if not note.exists():
                write_atomic(note, (json.dumps(now, indent=2) + "\n").encode())
            found = json.loads(note.read_text())
        refuse_changes(self.root, found, now)

    def _write_lists(self) -> None:
        with held(self._state / "lock", self.root, wait=True):
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
    """What the clips depend on, by config key."""
    flat: dict[str, Any] = {"form": FORM, "parts": shard.of}
    for key, value in cfg.model_dump(mode="json").items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items() if f"{key}.{name}" not in _OF_THE_RUN}
        elif key not in _OF_THE_RUN:
            flat[key] = value
    return flat


def _rows(clips: Iterable[Record], cfg: CloneConfig) -> Iterable[tuple[str, ...]]:
    """FakeAVCeleb's rows: its categories are A for RVRA and B for RVFA."""
    for record in clips:
        for name, file in record["files"].items():
            tier, path = TIERS[name], PurePosixPath(file)
            race, gender, identity = path.parts[1:4]
            how = (method(tier, cfg), "A" if tier is RVRA else "B", tier.folder)
            yield (identity, "-", "-", *how, race, gender, path.name, f"FakeAVCeleb/{path.parent.as_posix()}")


def _merged(journals: Iterable[Path]) -> list[Record]:
    records: dict[str, Record] = {}
    for path in sorted(journals):
        records |= read_journal(path)
    return [records[source] for source in sorted(records)]
