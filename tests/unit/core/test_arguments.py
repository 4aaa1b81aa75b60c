from pathlib import Path

import pytest

from avdfd.core.arguments import Parser, add_encoders, folder
from avdfd.core.errors import UserError


@pytest.fixture
def cli():
    cli = Parser(prog="some.py")
    cli.add_argument("--out", type=Path, required=True)
    cli.add_argument("--kind", choices=["a", "b"], default="a")
    return cli


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "the following arguments are required: --out; see some.py --help"),
        (["--out", "x", "--kind", "c"], "argument --kind: invalid choice: 'c'"),
        (["--out"], "argument --out: expected one argument"),
        (["--out", ""], "an empty argument after --out: a variable of the shell may not be set"),
        (["", "--out", "x"], "an empty argument after some.py"),
        (["--out", "x", "--ki", "b"], "unrecognized arguments: --ki b"),
    ],
)
def test_wrong_arguments_are_one_line(cli, given, message, capsys):
    with pytest.raises(UserError) as error:
        cli.parse_args(given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


def test_names_of_folders():
    cli = Parser(prog="some.py")
    cli.add_argument("--name", type=folder)
    assert cli.parse_args(["--name", "dfdc/part-1"]).name == "dfdc/part-1"
    with pytest.raises(UserError, match="argument --name: '../x' is no name of a folder"):
        cli.parse_args(["--name", "../x"])


def test_folders_of_encoders_add_up():
    cli = Parser(prog="some.py")
    add_encoders(cli)
    assert cli.parse_args([]).encoders == []
    assert cli.parse_args(["--encoders", "a", "--encoders", "b/c"]).encoders == [Path("a"), Path("b/c")]


def test_commands_are_parsed_alike():
    cli = Parser(prog="some.py")
    cli.add_subparsers(required=True).add_parser("make").add_argument("file")
    assert cli.parse_args(["make", "x"]).file == "x"
    with pytest.raises(UserError, match="see some.py make --help"):
        cli.parse_args(["make"])
