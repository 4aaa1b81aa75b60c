"""The commands of README, CONTRIBUTING and docs: scripts exist, know every option, and accept every override."""

import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import train
from avdfd import config, released
from avdfd.config import loading
from avdfd.config.base import Section
from tests.helpers.documents import PAGES, blocks, rows
from tests.paths import ROOT

MODELS: dict[str, tuple[type[Section], ...]] = {
    "pretrain.py": (config.PretrainConfig,),
    "train.py": (config.TrainConfig,),
    "baseline.py": config.BASELINES,
    "search.py": (config.SearchConfig,),
    "ablate.py": (config.AblationConfig,),
    "data/preprocess.py": (config.PreprocessConfig,),
    "data/preprocessing/codec_parity.py": (config.ParityConfig,),
    "data/preprocessing/clone_voices.py": (config.CloneConfig,),
    "data/preprocessing/resynthesise.py": (config.ResynthesisConfig,),
}
"""Scripts that take a config."""
OTHERS = {"git", "python3.10", "/opt/seed-vc/.venv/bin/pip", "cp", "unzip", ".venv/bin/pip"}
"""Programs that are not part of the repository."""
SLURM = re.compile(r"--(array|gres)=.*|-[Np]$")


class Call(NamedTuple):
    page: str
    script: str
    """Path of a .py or .sh, or the module after -m."""
    arguments: list[str]
    config: str | None
    """The variable CONFIG."""


def commands(page: Path) -> Iterator[str]:
    """Single commands of the bash blocks, and of the code spans of tables that start with one."""
    cells = (
        cell.strip("`")
        for row in rows(page)
        for cell in row
        if re.match(r"`(\S+=\S+ )?(bash|\.venv/bin/python) ", cell)
    )
    for text in (*blocks(page, "bash"), *cells):
        text = re.sub(r"\\\n\s*", " ", text)
        for line in text.splitlines():
            yield from filter(
                None,
                (part.strip() for part in re.split(r"&&|;|(?:^|\s)#\s.*|\bdo\b|\bdone\b|[{}](?=\s|$)", line) if part),
            )


def calls(page: Path) -> Iterator[Call]:
    for command in commands(page):
        words = shlex.split(command)
        settings = {}
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, settings[name] = words.pop(0).partition("=")
        if not words or words[0] in OTHERS or re.match(r"both\b|for$|list$|in$", words[0]):
            continue
        program, *words = words
        assert program in ("bash", "sbatch", ".venv/bin/python"), f"{page.name}: {command}"
        while program == "sbatch" and SLURM.match(words[0]):
            words = words[2 if words[0] in ("-N", "-p") else 1 :]
        script = words.pop(0)
        if script == "-m":
            script = words.pop(0)
        yield Call(page.name, script, words, settings.get("CONFIG"))


CALLS = [call for page in PAGES for call in calls(page)]


def behind(script: str) -> str | None:
    """The Python script that a shell script ends with."""
    text = (ROOT / script).read_text()
    found = re.findall(r"^(?:launch|supervise \S+|exec \S+python) ([\w/]+\.py)", text, flags=re.M)
    return found[-1] if found else None


@cache
def help_of(script: str) -> str:
    """The options of a script or of `avdfd.released convert`, as it prints them."""
    if script == "avdfd.released":
        main, argv = released.main, ["convert", "--help"]
    else:
        spec = importlib.util.spec_from_file_location(f"documented_{Path(script).stem}", ROOT / script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "main"):  # docs/make_config.py takes no arguments
            return ""
        main, argv = module.main, ["--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 0
    return said.getvalue()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.page}-{call.script}")
def test_documented_command(call):
    assert call.script == "avdfd.released" or (ROOT / call.script).is_file(), call.script
    if call.script in ("test.sh", ".ci/run"):  # arguments go to pytest
        return
    script = behind(call.script) if call.script.endswith(".sh") else call.script
    if script is None:
        check_shell_options(call)
        return
    text = help_of(script)
    options = [word for word in call.arguments if word.startswith("--")]
    overrides = [word for word in options if "=" in word and not known(word.partition("=")[0], text)]
    for option in set(options) - set(overrides):
        assert known(option.partition("=")[0], text), f"{script} has no option {option}"
    if script not in MODELS:
        assert overrides == [], f"{script} takes no config"
        return
    given = call.arguments[call.arguments.index("--config") + 1] if "--config" in call.arguments else call.config
    default = re.search(r"(?:CONFIG:-|default=\")(config/[\w/]+\.json)", (ROOT / call.script).read_text())
    path, models = given or (default.group(1) if default else None), MODELS[script]
    if script == "train.py":
        stage = call.arguments[call.arguments.index("--stage") + 1] if "--stage" in call.arguments else "detector"
        path, models = (
            given or train.DEFAULTS[stage],
            models if stage == "detector" else (config.ConsistencyStageConfig,),
        )
    assert path is not None, f"{call.script} has no default config"
    stated = [override.replace("$SHA256", "0" * 64) for override in overrides]
    real = [override for override in stated if "$" not in override]
    loading.load(ROOT / path, *models, overrides=real)


def known(option: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def check_shell_options(call: Call) -> None:
    text = (ROOT / call.script).read_text()
    for word in call.arguments:
        if word.startswith("--"):
            assert word in text, f"{call.script} has no option {word}"


def test_there_are_commands_of_every_script():
    """Every script that a user starts is shown at work somewhere."""
    shown = {call.script for call in CALLS} | {behind(call.script) for call in CALLS if call.script.endswith(".sh")}
    scripts = {
        str(path.relative_to(ROOT))
        for folder in ("", "data", "data/preprocessing")
        for path in (ROOT / folder).glob("*.py")
    }
    assert scripts - shown - {"data/__init__.py"} == set()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=lambda page: page.name)
def test_blocks_are_bash(page):
    code = "\n".join(blocks(page, "bash"))
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_script_runs():
    """docs/make_config.py by itself, from anywhere, without changing the page that is current."""
    before = (ROOT / "docs" / "config.md").read_bytes()
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_config.py")], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (ROOT / "docs" / "config.md").read_bytes() == before
