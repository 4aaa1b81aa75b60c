"""Memory that this process can use."""

from collections.abc import Iterator
from pathlib import Path


def available_memory() -> int:
    """Return the bytes that can still be allocated on this machine, within this process's cgroups (SLURM's --mem)."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].removesuffix("kB")) * 1024
    return max(0, min([free, *_cgroup_rooms(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text())]))


def _cgroup_rooms(root: Path, groups: str) -> Iterator[int]:
    """Yield the bytes left under each memory limit of the cgroups, version 1 or 2, and of their parents."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit_name, used_name = root, "memory.max", "anon"
        elif "memory" in controllers.split(","):
            top, limit_name, used_name = root / "memory", "memory.limit_in_bytes", "total_rss"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, used = folder / limit_name, folder / "memory.stat"
            if top in (folder, *folder.parents) and limit.is_file() and limit.read_text().strip() != "max":
                # The page cache does not count: it is given up on demand.
                stat = dict(entry.split() for entry in used.read_text().splitlines())
                yield int(limit.read_text()) - int(stat[used_name])
