"""Model card of a run, card.md: what it was trained on, its figures, limits, licences and intended use.

It is made from the files of the run folder alone: best.json, and the report.json of every evaluation in it. Training
writes it, and every evaluation of the run writes it again with its figures.

References:
    Mitchell et al., "Model Cards for Model Reporting", FAT* 2019: the sections.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avdfd.core.errors import UserError
from avdfd.core.files import BEST, write_atomic
from avdfd.core.text import markdown, markdown_table, read_json
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES
from avdfd.features.window import SECONDS
from avdfd.report import sentences
from avdfd.report.numbers import with_interval

CARD = "card.md"
_SPECIAL = re.compile(r"([\\`*_\[\]])")
_MODELS = {
    "pretrain": "stage 1: the audio branch, which is given audio alone",
    "consistency": "stage 2a: the predictor of the mouth from audio, trained on real clips; it has no classifier",
    "train": "stage 2: the detector of manipulated audio or video, which fuses its branches by confidence",
}
_AUDIO_ALONE = ("pretrain", "countermeasure")
_LICENCES = (
    ("marlin", "CC BY-NC 4.0"),
    ("av-hubert", "the AV-HuBERT licence of its authors, for research alone"),
    ("mhubert", "CC BY-NC-SA 4.0"),
    ("xls-r", "MIT in fairseq, Apache 2.0 on Hugging Face"),
    ("wav2vec2", "MIT"),
    ("hubert", "MIT"),
    ("w2v-bert", "MIT"),
    ("wavlm", "MIT"),
    ("whisper", "MIT"),
)
"""Beginning of the name of an encoder -> licence of its published weights (docs/training.md, docs/baselines.md)."""
_UNKNOWN = "not stated in the file: see where you got it"


def write_card(run: str | Path) -> None:
    """Write the card of a run folder; nothing for a folder without weights, as for scores from a file."""
    run = Path(run)
    best = run / Path(BEST).with_suffix(".json")
    if not best.is_file():
        return
    write_atomic(run / CARD, card(read_json(best), evaluations(run)).encode())


def evaluations(run: Path) -> dict[str, dict[str, Any]]:
    """Return the content of every report.json of a run by the name of its folder; those of other weights are left out,
    and so is one that is damaged."""
    found = {}
    weights = read_json(run / Path(BEST).with_suffix(".json")).get("sha256")
    for path in sorted((run / "eval").rglob("report.json")):
        try:
            report = read_json(path)
            if report["runs"][0]["checkpoint_sha256"] == weights:
                found[path.parent.relative_to(run / "eval").as_posix()] = report
        except (UserError, KeyError, IndexError, TypeError):
            continue
    return found


def card(best: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the card, in Markdown, from the content of best.json and of the reports by name.

    Names and paths from outside are escaped.
    """
    config = best["config"]
    kind = config["kind"]
    parts = [
        f"# Model card: {_text(config['name'])}",
        "Written by the scripts from the files of this folder; an evaluation of the run writes it again.",
        "## Model",
        _list(_about(best)),
        "## Data",
        _list(_data(best, reports)),
        "## Figures",
        *_figures(reports),
        "## Domain and limits",
        _list(_limits(kind, reports)),
        "## Licences",
        _list(_licences(best)),
        "## Intended use",
        "Research on the detection of forged media. A score is evidence, not proof: do not judge anybody by it, and do "
        "not let it decide without somebody who looks at the file.",
    ]
    return "\n\n".join(parts) + "\n"


def _about(best: Mapping[str, Any]) -> Iterator[str]:
    config = best["config"]
    kind, stage = config["kind"], best.get("stage")
    yield _MODELS.get(kind, f"baseline {_text(kind)}" + (f", stage {_text(stage)}" if stage else ""))
    if best.get("epoch") is None:
        yield "weights that were not trained here"
    else:
        yield (
            f"weights of epoch {best['epoch']}, selected by {_text(best['metric'])} {best['value']:.4f} on the "
            "validation elements"
        )
    yield f"seed {config['seed']}; code {_text(best['git'])}; sha256 of the weights {_text(best.get('sha256', ''))}"
    if config.get("faithful"):
        yield "computes what the authors' release computes (`faithful`), its faults included"


def _data(best: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    config = best["config"]
    data = config["data"]
    yield f"elements {_text(data['elements'])}, split lists {_text(data['splits'])}"
    protocol = next(iter(reports.values()))["protocol"] if reports else {}
    stated = [] if config["kind"] == "consistency" else data.get("fake_tiers", [])
    trained = protocol.get("trained_tiers", stated)
    if best.get("epoch") is None:
        yield "published weights: trained by their authors, on data that they state"
        return
    yield f"trained on real clips (RVRA) and the fakes {_names(trained)}" if trained else "trained on real clips only"
    if protocol.get("people"):
        counts = ", ".join(f"{count} in {_text(split)}" for split, count in protocol["people"].items())
        yield f"identities: {counts}; those of the test are in neither, unless stated below"


def _figures(reports: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not reports:
        yield "Not evaluated yet: `bash evaluate.sh --run` this folder."
        return
    yield (
        "AUC of the fakes of each tier against the real clips, with 95 % bootstrap intervals over identities. Weights, "
        "thresholds and temperatures were selected on validation; its own figures are therefore optimistic."
    )
    for name, report in reports.items():
        main = report["main"]
        rows = [["", "clips", "identities", "AUC", "EER", "false alarms", "misses"]]
        for part, of in (("overall", report["overall"]), *report["tiers"].items()):
            measured = (with_interval(of[main], key) if key in of[main] else "–" for key in ("auc", "eer"))
            errors = (with_interval(of[main], key) if key in of[main] else "–" for key in (FALSE_ALARMS, MISSES))
            rows.append([part, str(of["clips"]), str(of["identities"]), *measured, *errors])
        yield (
            f"**{_text(name)}**, split {_text(report['split'])} of {_text(report['elements'])}, {_text(main)} score, "
            f"code {_text(report['git'])}. {_text(sentences.protocol(report))}"
        )
        yield markdown_table(rows)
    yield "False alarms and misses are at the threshold of validation; without a validation report there is none."


def _limits(kind: str, reports: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if kind in _AUDIO_ALONE:
        yield "is given audio alone: it cannot detect a fake video with real audio"
    yield (
        f"scores windows of {SECONDS} s, or whole clips where the system takes those: a score says little about a clip "
        "of which one second is fake"
    )
    yield (
        "its figures hold for clips like those that it was evaluated on; for other languages, codecs, cameras and "
        "generators they promise nothing"
    )
    for name, report in reports.items():
        new = report["protocol"]["new_kinds"]
        if new:
            yield f"{_text(name)}: fakes that it was not trained on: {_names(new)}"
        for said in (sentences.few_identities(report), sentences.spared(report)):
            if said:
                yield f"{_text(name)}: {_text(said)}"
    if kind == "train" and not any("counterfactuals" in report for report in reports.values()):
        yield "whether it uses the relation of audio and video was not tested (`evaluate.py --counterfactuals`)"


def _licences(best: Mapping[str, Any]) -> Iterator[str]:
    yield "code: LICENSE of the repository"
    for name, file in dict.fromkeys(_encoders(best)):
        known = next((licence for start, licence in _LICENCES if name.startswith(start)), _UNKNOWN)
        yield f"{_text(name)}, from {_text(file)}: {known}"
    config = best["config"]
    for key, run in (("stage 1", config.get("audio")), ("stage 2a", (config.get("consistency") or {}).get("init"))):
        if run:
            yield f"{key}, from {_text(run)}: see the card there"
    yield "data sets have terms of their own, which may extend to weights trained on them"


def _encoders(values: Any, name: str = "weights") -> Iterator[tuple[str, str]]:
    """Yield name and file of all pretrained weights that a config names, at any depth."""
    if not isinstance(values, Mapping):
        return
    kinds = [values.get(key) for key in ("arch", "init", "kind")]
    kind = next((one for one in kinds if isinstance(one, str) and one not in ("random", "ssl")), name)
    if values.get("kind") == "whisper":
        kind = "whisper " + str(values.get("arch"))
    if "encoder_layers" in values and "ffn_dim" in values:
        kind = "av-hubert"
    for key in ("file", "weights"):
        if isinstance(values.get(key), str):
            yield kind, values[key]
    for key, inner in values.items():
        yield from _encoders(inner, kind if key == "weights" else key)


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_text, names))


def _list(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(value: Any) -> str:
    """Return a text from outside as text in Markdown: no HTML, link, emphasis, code, new line or control character."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return markdown(_SPECIAL.sub(r"\\\1", plain))
