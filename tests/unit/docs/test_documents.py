"""README, CONTRIBUTING and docs: their length, image, links, the paths and configs that they name."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.documents import PAGES, blocks, prose, rows
from tests.paths import ROOT

LINK = re.compile(r"\[(?:[^\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:avdfd|benchmarks|config|data|docs|tests|OpenAVFF)/[\w./-]*\w|\w+\.(?:py|sh)\b")
FOLDERS = ("", "benchmarks", "data", "data/preprocessing", "avdfd/evaluation", "config")
"""Folders of files that a page may name without their folder."""
MADE = (
    "data/splits/",
    "data/vfd",
    "data/manifests/",
    "data/elements",
    "data/remote",
    "data/demo",
    "data/speech",
    "data/own",
    "data/dfdc",
)
"""Paths that the documented commands write."""
YOURS = {"inference_v2.py", "x.sh", "config/cluster.env"}
"""Files of other programs, of a site, and a placeholder."""


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def without_theirs(text: str) -> str:
    """Return a text without the first column of its tables of published commands: it names files of others."""

    def narrower(table: re.Match[str]) -> str:
        return re.sub(r"(?m)^\|[^|\n]*\|", "|", table.group())

    return re.sub(r"(?m)^\| theirs \|[^\n]*(\n\|[^\n]*)*", narrower, text)


def named_paths(page: Path) -> Iterator[str]:
    """Paths of the repository in code spans."""
    for span in re.findall(r"`([^`\n]+)`", without_theirs(prose(page))):
        if "NAME" not in span and not span.startswith(("/", "http")):
            yield from (path for path in PATH.findall(span) if f"/{path}" not in span and f"<{path}" not in span)


def exists(path: str) -> bool:
    return path in YOURS or path.startswith(MADE) or any((ROOT / folder / path).exists() for folder in FOLDERS)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


def test_contributing_is_one_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 80


def test_the_report_image_is_a_small_png():
    data = (ROOT / "docs" / "report.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) < 200_000
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 800
    assert height >= 500


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(page):
    assert [path for path in named_paths(page) if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_fit(page):
    """Tables, code and drawings apart."""
    lines = prose(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_every_folder_of_the_package_has_its_sentence():
    tree = blocks(ROOT / "README.md", "")[-1]
    folders = {path.parent.name for path in (ROOT / "avdfd").glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ +\S", tree, flags=re.M)) == folders


def test_every_config_has_command_time_and_figure():
    found = {row[0].strip("`"): row[1:] for row in rows(ROOT / "docs" / "config.md") if row[0].startswith("`config/")}
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "config").rglob("*.json")}
    assert set(found) == shipped
    for path, (command, time, figure, contents) in found.items():
        assert command.startswith("`"), path
        assert time, path
        assert figure, path
        assert contents, path
