"""Calls of detect.py within the process of the test, and files that it and evaluate.py both score."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import detect
from avdfd.config import MediaConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.tiers import tier
from avdfd.elements import ElementWriter
from avdfd.media.windows import extract


def lines_of(arguments, capsys):
    """Return exit code and JSON lines."""
    code = detect.main([*map(str, arguments), "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(*arguments):
    """Return the message of the user error that the arguments are."""
    with pytest.raises(UserError) as caught:
        detect.main([str(argument) for argument in arguments])
    return str(caught.value)


def make_corpus(
    root: Path,
    splits: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    methods: Mapping[str, str],
    suffix: str,
    write: Callable[[Path, str, str, int], object],
) -> MediaConfig:
    """Write files, their elements and split lists; return the settings of the windows.

    Every identity has two files of each tier of `methods`; `write` is called with path, identity, tier and number.
    """
    media = parse(dict(settings), MediaConfig, "test")
    with ElementWriter(root / "elements", {f"media.{key}": value for key, value in settings.items()}) as writer:
        for identity in (one for members in splits.values() for one in members):
            for name, method in methods.items():
                for number in range(2):
                    source = f"{tier(name).folder}/Asian/men/{identity}/{number}{suffix}"
                    path = root / "files" / source
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write(path, identity, name, number)
                    clip = {"tier": name, "identities": [identity], "source": source, "base": source, "method": method}
                    clip |= {"race": "Asian", "gender": "men", "sha256": source}
                    windows = extract(path, media)
                    writer.add(clip, [{key: window[key] for key in ("start", "end", "parts")} for window in windows])
    (root / "splits").mkdir()
    for split, members in splits.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(members))
    return media
