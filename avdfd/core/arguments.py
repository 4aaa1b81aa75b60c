"""The one parser of command lines: a wrong one is a `UserError` of one line, as every other wrong request."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from avdfd.core.errors import UserError
from avdfd.core.text import folder_name


class Parser(argparse.ArgumentParser):
    """Parser of a script's command line. Options are not abbreviated; an empty argument is refused."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does. Raises UserError."""
        args = sys.argv[1:] if args is None else [*args]
        if "" in args:
            before = args[args.index("") - 1] if args.index("") else self.prog
            raise UserError(f"an empty argument after {before}: a variable of the shell may not be set")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def folder(text: str) -> str:
    """Return the value of an option that names a folder below another (`avdfd.core.text.folder_name`)."""
    try:
        return folder_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_encoders(cli: argparse.ArgumentParser) -> None:
    """Add the option of folders in which the pretrained encoders that a run refers to are looked for."""
    cli.add_argument(
        "--encoders",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder with the file of a run's pretrained encoder, if it is not where the run had it",
    )
