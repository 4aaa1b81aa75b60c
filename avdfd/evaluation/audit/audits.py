"""The `audit` of report.json: probes of elements and files, and leaks between splits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avdfd.baselines.open_store import open_store
from avdfd.config import RunConfig
from avdfd.core.errors import UserError
from avdfd.core.remote_files import is_url
from avdfd.elements import ElementMeta
from avdfd.elements.protocol import Store
from avdfd.evaluation.audit import elements, files, probes
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
    if foreign and not is_url(config.data.elements) and not Path(config.data.elements).exists():
        return parts
    own = open_store(config.data.elements, config) if foreign else store
    members = assign(own.metas, read_splits(config.data.splits))
    return parts | {name: (own, take(own.metas, members[name])) for name in SPLITS if name != split}


def check(store: Store, probes_root: str | None) -> None:
    """Raise UserError, before any work, for an audit that cannot be made: one identity alone, or missing files."""
    if all(meta.identities[0] == store.metas[0].identities[0] for meta in store.metas):
        raise UserError(f"{store.root}: cannot be audited: probes need clips of two identities; leave the audit out")
    if probes_root:
        sources = sorted({meta.source for meta in store.metas})
        files.check(Path(probes_root), sources)


def of_elements(parts: Mapping[str, Part], workers: int, progress: Bar = iter) -> dict[str, Any]:
    """Return shortcuts in the store of the first part, leaks between all parts, and the probes that were left out.

    Raises UserError for a store that cannot be probed at all.
    """
    store = next(iter(parts.values()))[0]
    looks = {name: elements.look_at(*part, workers, progress) for name, part in parts.items()}
    probed = [look.clip for name, members in looks.items() if parts[name][0] is store for look in members]
    table, left_out = _probe(probed, str(store.root), elements.lacking(store, elements.NEEDS))
    unknown = {name: elements.lacking(of, elements.FINGERPRINTS) for name, (of, _) in parts.items()}
    return {
        "probes": {"elements": table},
        "leaks": [leak._asdict() for leak in find_leaks(looks)],
        "clips": {name: len(members) for name, members in looks.items()},
        "left_out": {"elements": left_out, "leaks": unknown},
    }


def of_files(metas: Sequence[ElementMeta], root: Path, progress: Bar = iter) -> dict[str, Any]:
    """Return shortcuts in the source files of a store, the probes that were left out, and the files without audio.

    Raises UserError for files that cannot be probed at all.
    """
    first = {meta.source: meta for meta in reversed(metas)}
    cues, unreadable = files.measure_all(root, progress(first))
    clips = [probes.Clip(m.tier, m.identities, m.base, cues[source]) for source, m in first.items() if source in cues]
    table, left_out = _probe(clips, str(root), {})
    return {"probes": table, "left_out": left_out, "unreadable": unreadable}


def _probe(
    clips: Sequence[probes.Clip], where: str, lacking: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    try:
        table, left_out = probes.probe_tiers(clips, lacking)
    except ValueError as error:
        raise UserError(f"{where}: cannot be probed ({error}); leave its audit out") from None
    return {
        tier: {cue: one._asdict() | {"shortcut": one.shortcut} for cue, one in cues.items()}
        for tier, cues in table.items()
    }, left_out
