"""Tables of what `gpu.py` measured: a page per card, and the table of README.md, made of the committed JSON.

python benchmarks/gpu_report.py        writes the table between the markers of README.md
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "gpu"
README = ROOT / "README.md"
MARKERS = "<!-- gpu: benchmarks/gpu_report.py -->\n", "<!-- /gpu -->\n"
NONE = "Nothing has been measured on a GPU yet: `bash benchmarks/gpu.sh` does so in nine minutes.\n"
_HEADLINE = ("stage 2, full", "stage 2, frozen", "stage 2, cached", "stage 1", "AVFF finetune", "MRDF", "VFD 2023")


def markdown(document: dict[str, Any]) -> str:
    """Return all measurements of a card as a page."""
    parts = [f"# {document['card']}, {document['date']}\n", _about(document) + "\n"]
    results = document["results"]
    if steps := _of(results, "steps"):
        parts.append("## Steps\n\n" + _steps(steps, _of(results, "batches")))
    if fed := _of(results, "fed"):
        parts.append("## Fed from files\n\n" + _fed(fed, steps))
    for found in _of(results, "batches"):
        title = f"## Batches of {found['system']}: {found['form']}\n\n"
        batches = [(row["clips"], _number(row["clips_per_second"]), f"{row['memory_gb']:.1f}") for row in found["rows"]]
        parts.append(title + _table(("clips a step", "clips/s", "GB"), batches))
    for found in _of(results, "kernels"):
        title = f"## Kernels of {found['system']}: {found['form']}, {found['clips']} clips a step\n\n"
        parts.append(title + _kernels(found["rows"]))
    if attention := document.get("attention"):
        names = sorted({name for times in attention.values() for name in times})
        rows = [
            (call, *(f"{times[name]:.3f}" if name in times else "cannot" for name in names))
            for call, times in attention.items()
        ]
        parts.append("## Attention, ms forward and backward\n\n" + _table(("call", *names), rows))
    if document["failed"]:
        parts.append("## Failed\n\n" + "".join(f"- {name}: {why}\n" for name, why in document["failed"].items()))
    if document["left_out"]:
        parts.append("## Left out, for want of time\n\n" + "".join(f"- {name}\n" for name in document["left_out"]))
    return "\n".join(parts)


def headline(documents: Iterable[dict[str, Any]]) -> str:
    """Return the text of README.md: a line per system and card, or that there is none."""
    rows: list[Sequence[Any]] = []
    for document in documents:
        steps, batches = _of(document["results"], "steps"), _of(document["results"], "batches")
        for system in _HEADLINE:
            ours = [row for row in steps if row["system"] == system and row["form"] != "released"]
            released = [row for row in steps if row["system"] == system and row["form"] == "released"]
            if not ours:
                continue
            best = max(ours, key=lambda row: row["clips_per_second"])
            before = released[0]["clips_per_second"] if released else None
            rows.append(
                (document["card"], system, best["form"], _number(best["clips_per_second"]),
                 _ratio(best["clips_per_second"], before), _percent(best.get("mfu")), _largest(best, batches),
                 document["date"])
            )  # fmt: skip
    if not rows:
        return NONE
    head = ("card", "training step of", "fastest form", "clips/s", "x released", "MFU", "largest batch", "measured")
    return _table(head, rows)


def committed(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the newest measurement of each card, without those at toy sizes."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        before = newest.get(document["card"])
        if not document["toy"] and (before is None or before["date"] <= document["date"]):
            newest[document["card"]] = document
    return [newest[card] for card in sorted(newest)]


def filled(page: str, text: str) -> str:
    """Return a page with this text between the markers."""
    first, last = MARKERS
    before, _, rest = page.partition(first)
    _, end, after = rest.partition(last)
    assert end, f"{first.strip()} and {last.strip()} enclose the table"
    return before + first + text + last + after


def _about(document: dict[str, Any]) -> str:
    toy = "**Toy sizes: a test, no measurement.** " if document["toy"] else ""
    peak = f", data sheet {document['peak_tflops']:.0f}" if document.get("peak_tflops") else ""
    rate = f"bf16 matrix products reach {document['matmul_tflops']:.3g} TFLOP/s{peak}. " \
        if "matmul_tflops" in document else ""  # fmt: skip
    return (
        f"{toy}torch {document['torch']}, {document['cores']} cores, revision {document['commit']}. {rate}"
        f"{document['seconds']:.0f} s of {document['seconds_allowed']:.0f} allowed. `benchmarks/gpu.py` says what is "
        "measured.\n"
    )


def _steps(steps: Sequence[dict[str, Any]], batches: Sequence[dict[str, Any]]) -> str:
    before = {row["system"]: row["clips_per_second"] for row in steps if row["form"] == "released"}
    head = ("system", "form", "clips a step", "clips/s", "x released", "TFLOP/s", "MFU", "GB", "largest batch",
            "first steps, s")  # fmt: skip
    rows = [
        (row["system"], row["form"], row["clips"], _number(row["clips_per_second"]),
         _ratio(row["clips_per_second"], before.get(row["system"])), f"{row['tflops']:.3g}",
         _percent(row.get("mfu")), f"{row['memory_gb']:.1f}", _largest(row, batches), f"{row['first_seconds']:.1f}")
        for row in steps
    ]  # fmt: skip
    return _table(head, rows)


def _fed(fed: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]]) -> str:
    head = ("system", "form", "clips a step", "clips/s", "of steps alone", "data wait")
    rows = [
        (row["system"], row["form"], row["clips"], _number(row["clips_per_second"]), _share(row, steps),
         f"{row['data_wait']:.1%}")
        for row in fed
    ]  # fmt: skip
    return _table(head, rows)


def _kernels(found: Sequence[dict[str, Any]]) -> str:
    rows = [
        (f"`{row['kernel'].replace('|', ' ')}`", f"{row['ms_per_step']:.3f}", f"{row['share']:.1%}",
         f"{row['calls_per_step']:.0f}")
        for row in found
    ]  # fmt: skip
    return _table(("kernel", "ms a step", "share", "calls a step"), rows)


def _of(results: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in results if row["kind"] == kind]


def _share(fed: dict[str, Any], steps: Sequence[dict[str, Any]]) -> str:
    same = [row["clips_per_second"] for row in steps if (row["system"], row["form"]) == (fed["system"], fed["form"])]
    return f"{fed['clips_per_second'] / same[0]:.0%}" if same else ""


def _largest(row: dict[str, Any], batches: Sequence[dict[str, Any]]) -> str:
    same = [
        found.get("largest") for found in batches if (found["system"], found["form"]) == (row["system"], row["form"])
    ]
    return str(same[0]) if same and same[0] else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _ratio(value: float, before: float | None) -> str:
    return "" if before is None else f"{value / before:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8"), headline(committed())), encoding="utf-8")
    print(README)
