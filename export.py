"""Export a run to ONNX: stage 1, stage 2 on the mouth shape, or a countermeasure.

    python export.py --run runs/pretrain --out audio.onnx
    python export.py --run runs/train --out detector.onnx

The graph takes windows of audio (and frames, and the mouth shape) and returns P(fake) of each branch;
`avdfd/inference/export.py` has its inputs. If onnxruntime is installed, the file is compared with the run on drawn
windows: a difference in P(fake) above 1e-4 is exit code 1.
"""

from pathlib import Path

from avdfd.core.arguments import Parser, add_encoders
from avdfd.core.errors import UserError, WorkError, run_script
from avdfd.core.files import ensure_writable


def main(argv: list[str]) -> None:
    cli = Parser(description="Export a run to ONNX.")
    cli.add_argument("--run", required=True, help="run folder of a training script")
    cli.add_argument("--out", required=True, type=Path, metavar="OUT.onnx", help="file to write")
    add_encoders(cli)
    args = cli.parse_args(argv)
    if args.out.suffix != ".onnx" or args.out.is_dir():
        raise UserError(f"{args.out}: --out names a file that ends with .onnx")
    # Imported here, as they need torch, which takes seconds to import: a wrong request is refused before it.
    from avdfd.inference.export import OPSET, TOLERANCE, difference, export
    from avdfd.inference.runs import load_run

    run = load_run(args.run, "cpu", args.encoders)
    ensure_writable(args.out.parent)

    form = export(run, args.out)
    print(f"{args.out}: opset {OPSET}; {', '.join(form.inputs)} -> P(fake) as {', '.join(form.outputs)}")
    found = difference(form, args.out)
    if found is None:
        print("onnxruntime is not installed: the file was not compared with the run")
    elif found > TOLERANCE:
        raise WorkError(f"{args.out}: P(fake) differs by {found:.2g} from the run's, more than {TOLERANCE:g}")
    else:
        print(f"largest difference from the run in P(fake): {found:.2g}")


if __name__ == "__main__":
    run_script(main)
