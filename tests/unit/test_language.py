"""Words that this repository avoids, in documents, code and messages; CONTRIBUTING.md has the rules."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.paths import ROOT

AVOID = {
    r"sounds?": "audio",
    r"pictures?": "video, frames, image",
    r"(?<!standard )deviations?": "standard deviation",
    r"(go|goes|going|gone|went) on": "resume, continue",
    r"hears?|heard|hearing": "takes, is given, scores",
    r"sees": "takes, is given",
    r"people": "identities",
    r"(in|out of) step": "in sync, out of sync",
    r"turned (a)?round": "circularly shifted",
    r"copies of (a|the) clips?": "near-duplicates",
    r"made again": "re-synthesised, repeated",
    r"worth": "a plain verb",
    r"to be had": "available",
    r"told apart|tells? apart": "separate, distinguish",
    r"stands? in": "replace",
    r"above all(?! fakes)": "mainly, with a focus on",
    r"knows? nothing of": "exclude",
    r"what is not there": "failures",
    r"byte for byte": "byte-identical",
    r"no proof": "indicative only",
    r"to read beside|the same to read": "metadata",
    r"wanted first": "lazily",
    r"tells? no fakes": "has no classifier yet",
    r"something else than": "does not match",
    r"something to find": "supervised by",
    r"wish(es)? for": "request",
    r"without which": "needs",
    r"as_they_are": "per_window",
    r"by_ear|\.ear\b|\bear=": "audio_branch, audio_only",
    r"kept_of": "input_form",
    r"distributed\.agree": "all_reduce_max",
    r"fits_nothing": "is not fitted",
}
"""Pattern -> what to write instead."""
KEPT = re.compile(
    r"""
    ["'`{.](sound|pictures?|picture\+sound|people|deviation)["'`}]     # keys, columns and placeholders
    | (cfg|config)\.sound | --sound\S* | sound:\ bool
    | (sound|picture)_(hash|late|early) | missing_(sound|picture)    # perturbations and columns
    | picture\+sound,\ picture,\ sound                               # kinds of near-duplicates
    | picture\ (branch|branches|score|scores) | audio,\ consistency(,|\ and)\ picture
    | consistency\ (\|\ |\ +)picture\ (\||\ )                         # its column in tables
    | loss\.picture | logit_picture                                   # a branch of the detector
    | the\ direct\ sound | the\ moving\ picture                      # a term of acoustics; a phrase of the corpus
    """,
    re.VERBOSE,
)
"""Names that files, configs and command lines have and that therefore stay, and phrases in which the word is right."""
NAMES_KEPT = {
    ("avdfd/corpora/fakeavceleb.py", "people"),
    ("data/preprocessing/check_fakeavceleb.py", "people"),
    ("data/preprocessing/codec_parity.py", "sound"),
    ("avdfd/config/parity.py", "sound"),
    ("avdfd/config/stage2.py", "picture"),
    ("train.py", "picture"),
}
"""Fields whose names are keys of files and configs."""
QUESTION = re.compile(r"(What|Whether|Which|Of|Where)\b")
"""Docstrings start with a verb or a noun phrase."""
SUFFIXES = {".py", ".md", ".sh", ".json"}
_PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_WORDS = re.compile("|".join(rf"(?<!\w)({pattern})(?!\w)" for pattern in AVOID), re.IGNORECASE)


def part_of(path: Path) -> str:
    """Part of the repository in which a file is: a folder, or the files of one kind at the top."""
    folders = path.relative_to(ROOT).parts[:-1]
    if not folders:
        return f"*{path.suffix}"
    depth = {"avdfd": 2, "tests": 3}.get(folders[0], 1)
    return "/".join(folders[:depth])


def texts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = (ROOT / line for line in listed.splitlines())
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__)]


def prose_of(path: Path) -> list[tuple[int, str]]:
    """Lines of a file by number; of Python, comments and strings only."""
    text = re.sub(r"standard(\s+)deviation", r"\1", path.read_text(encoding="utf-8"))
    if path.suffix != ".py":
        return [*enumerate(text.splitlines(), 1)]
    lines: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _PROSE:
            for n, line in enumerate(token.string.splitlines(), token.start[0]):
                lines[n] = f"{lines.get(n, '')} {line}"
    return [*lines.items()]


def names_of(path: Path) -> list[tuple[int, str]]:
    """Line and text of all names in a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    names = [(token.start[0], token.string) for token in tokens if token.type == tokenize.NAME]
    file = str(path.relative_to(ROOT))
    return [(n, name) for n, name in names if (file, name) not in NAMES_KEPT]


def found_in(path: Path, texts: Iterable[tuple[int, str]]) -> list[str]:
    """Texts of a file with words to avoid."""
    return [f"{path.relative_to(ROOT)}:{n}: {text.strip()}" for n, text in texts if avoided(text)]


def avoided(line: str) -> bool:
    return _WORDS.search(KEPT.sub("", line)) is not None


def questions_in(path: Path) -> list[str]:
    """Docstrings of a module, also those of fields, that start like a question."""
    expressions = (
        node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Expr)
    )
    strings = ((one.lineno, one.value) for one in expressions if isinstance(one, ast.Constant))
    return [f"{path.relative_to(ROOT)}:{n}: {s}" for n, s in strings if isinstance(s, str) and QUESTION.match(s)]


TEXTS = texts()
PARTS = sorted({part_of(path) for path in TEXTS})


@pytest.mark.parametrize("part", PARTS)
def test_plain_language(part):
    files = [path for path in TEXTS if part_of(path) == part]
    assert [line for path in files for line in found_in(path, prose_of(path))] == []
    assert [text for path in files if path.suffix == ".py" for text in questions_in(path)] == []


@pytest.mark.parametrize("part", PARTS)
def test_plain_names(part):
    files = [path for path in TEXTS if part_of(path) == part and path.suffix == ".py"]
    assert [line for path in files for line in found_in(path, names_of(path))] == []


@pytest.mark.parametrize(
    ("line", "is_avoided"),
    [
        ("the sound of a clip", True),
        ("Pictures", True),
        ("mean and deviation", True),
        ("mean and standard deviation", False),
        ("it goes on where it was", True),
        ("`sound` takes audio files", False),
        ("--robustness sound_late", False),
        ("people", True),
        ("soundness", False),
    ],
)
def test_what_is_avoided(line, is_avoided):
    assert avoided(line) == is_avoided
