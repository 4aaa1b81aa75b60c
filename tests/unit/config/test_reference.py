"""docs/config.md is what docs/make_config.py writes of the docstrings, and every key has one."""

import pytest

from avdfd.config.base import Section
from docs import make_config


def all_sections() -> list[type[Section]]:
    found: dict[str, type[Section]] = {}
    for model in make_config.SCRIPTS:
        make_config._collect(model, found)
    return [*make_config.SCRIPTS, *found.values()]


def test_the_reference_is_current():
    assert make_config.PAGE.read_text(encoding="utf-8") == make_config.page(), (
        "run .venv/bin/python docs/make_config.py"
    )


@pytest.mark.parametrize("model", all_sections(), ids=lambda model: model.__name__)
def test_every_key_says_what_it_means(model):
    assert model.__doc__
    assert model.__doc__ != Section.__doc__
    silent = [
        name
        for name, field in model.model_fields.items()
        if not field.description and not make_config._sections(field.annotation) and name != "kind"
    ]
    assert silent == []
