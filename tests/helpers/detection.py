"""Calls of detect.py within the process of the test."""

import json

import pytest

import detect
from avdfd.core.errors import UserError


def lines_of(arguments, capsys):
    """Return exit code and JSON lines."""
    code = detect.main([*map(str, arguments), "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(*arguments):
    """Return the message of the user error that the arguments are."""
    with pytest.raises(UserError) as caught:
        detect.main([str(argument) for argument in arguments])
    return str(caught.value)
