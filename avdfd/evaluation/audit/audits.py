"""The `audit` of report.json: probes of elements and files, and leaks between splits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avdfd.baselines.open_store import open_store
from avdfd.config import RunConfig
from avdfd.core.errors import MediaError, UserError
from avdfd.elements import ElementMeta
from avdfd.elements.protocol import Store
from avdfd.evaluation.audit import files, probes
from avdfd.evaluation.audit.elements import look_at
from avdfd.evaluation.audit.leaks import find_leaks
from avdfd.splits.lists import SPLITS, assign, read_splits, take

Bar = Callable[[Iterable[Any]], Iterable[Any]]
Part = tuple[Store, Sequence[ElementMeta]]


def parts_of(
    config: RunConfig, store: Store, metas: Sequence[ElementMeta], split: str, *, foreign: bool
) -> dict[str, Part]:
    """Return the elements tested as `split` and those of the run's other splits, each with its store.

    `foreign` is True if the store is not the run's own. If the run's own store is missing, its splits are left out.
    """
    parts: dict[str, Part] = {split: (store, metas)}
    if foreign and not Path(config.data.elements).is_dir():
        return parts
    own = open_store(config.data.elements, config.kind) if foreign else store
    members = assign(own.metas, read_splits(config.data.splits))
    return parts | {name: (own, take(own.metas, members[name])) for name in SPLITS if name != split}


def of_elements(parts: Mapping[str, Part], workers: int, progress: Bar = iter) -> dict[str, Any]:
    """Return shortcuts in the store of the first part, and leaks between all parts.

    Raises UserError for a store that cannot be probed.
    """
    store = next(iter(parts.values()))[0]
    looks = {name: look_at(*part, workers, progress) for name, part in parts.items()}
    probed = [look.clip for name, members in looks.items() if parts[name][0] is store for look in members]
    return {
        "probes": {"elements": _probe(probed, str(store.root))},
        "leaks": [leak._asdict() for leak in find_leaks(looks)],
        "clips": {name: len(members) for name, members in looks.items()},
    }


def of_files(metas: Sequence[ElementMeta], root: Path, progress: Bar = iter) -> dict[str, Any]:
    """Return shortcuts in the source files of a store. Raises UserError if they are not under `root`."""
    first = {meta.source: meta for meta in reversed(metas)}
    missing = next((root / source for source in first if not (root / source).is_file()), None)
    if missing:
        raise UserError(f"{missing}: no such file; --probes takes the root of the elements' source files")
    try:
        clips = [
            probes.Clip(meta.tier, meta.identities, meta.base, files.measure(root / source))
            for source, meta in progress(first.items())
        ]
    except MediaError as error:
        raise UserError(f"{root}: cannot be probed ({error}); leave --probes out") from None
    return _probe(clips, str(root))


def _probe(clips: Sequence[probes.Clip], where: str) -> dict[str, Any]:
    try:
        table = probes.probe_tiers(clips)
    except ValueError as error:
        raise UserError(f"{where}: cannot be probed ({error}); leave its audit out") from None
    return {
        tier: {cue: one._asdict() | {"shortcut": one.shortcut} for cue, one in cues.items()}
        for tier, cues in table.items()
    }
