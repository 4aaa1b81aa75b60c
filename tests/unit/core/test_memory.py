"""Memory that this process can use."""

from avdfd.core import memory


def test_cgroups_limit_the_memory(tmp_path):
    """Limits of both versions and of parent groups count; a group without a limit adds none."""
    for folder, limit, used in (("job", "900", "100"), ("job/step", "max", "50"), ("memory/old", "800", "300")):
        (tmp_path / folder).mkdir(parents=True)
        old = folder.startswith("memory")
        (tmp_path / folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(limit + "\n")
        (tmp_path / folder / "memory.stat").write_text(f"file 1000\n{'total_rss' if old else 'anon'} {used}\n")
    assert list(memory._cgroup_rooms(tmp_path, "0::/job/step\n")) == [800]
    assert list(memory._cgroup_rooms(tmp_path, "4:cpu,memory:/old/gone\n3:cpuset:/\n")) == [500]
    assert list(memory._cgroup_rooms(tmp_path, "0::/\n")) == []
    assert 0 < memory.available_memory() < 10**14
