"""Public name of `avdfd.baselines.released`, and its command.

python -m avdfd.released convert IN OUT.safetensors --system openavff-finetune
"""

from pathlib import Path

from avdfd.baselines.released import SYSTEMS, convert, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import run_script

__all__ = ["convert", "load"]


def main(argv: list[str]) -> None:
    cli = Parser(prog="python -m avdfd.released")
    command = cli.add_subparsers(required=True).add_parser("convert", help="a published checkpoint as safetensors")
    command.add_argument("source", type=Path, metavar="IN")
    command.add_argument("target", type=Path, metavar="OUT.safetensors")
    command.add_argument("--system", required=True, choices=SYSTEMS)
    args = cli.parse_args(argv)
    print(f"{args.target}: {convert(args.source, args.target, args.system)}")


if __name__ == "__main__":
    run_script(main)
