"""Configs that runs have saved, also with an earlier version of the code.

A key that is newer than a saved config means what its run did. Mostly that is the key's default; the others are here.
"""

from typing import Any

from avdfd.config.base import S
from avdfd.config.loading import parse


def completed(values: dict[str, Any]) -> dict[str, Any]:
    """Return a saved config with what was done before a key existed, for the keys that it lacks."""
    if values.get("kind") == "consistency":
        if values.get("method", "least-squares") == "least-squares":  # it had no effect, and has been refused since
            values = {key: value for key, value in values.items() if key != "optim"}
        model = values.get("model")
        return {**values, "model": completed_mouth(model)} if isinstance(model, dict) else values
    if values.get("kind") == "pretrain":
        return _without_frames(values)
    if values.get("kind") == "avff":
        return _with(values, ["model"], "normalisation", "imagenet")
    if values.get("kind") != "train":
        return values
    values = _effective(_with(values, ["visual"], "normalisation", "imagenet"))
    return values if values.get("direction", "a2v") == "a2v" else _with(values, [], "anchors", "own")


def completed_mouth(model: dict[str, Any]) -> dict[str, Any]:
    """Return a saved model of stage 2a likewise: on an encoder, it took all features."""
    representation = model.get("representation")
    on_encoder = isinstance(representation, dict) and representation.get("kind", "mouth-shape") != "mouth-shape"
    return _with(model, [], "components", 0) if on_encoder else model


def parse_saved(values: dict[str, Any], model: type[S], source: str) -> S:
    """Convert a saved config to a typed one. Raises UserError naming `source` and the key."""
    return parse(completed(values), model, source)


def _without_frames(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out the augmentation of frames, which stage 1 does not take; it has been refused since."""
    augment = values.get("augment")
    if not isinstance(augment, dict):
        return values
    kept = {key: value for key, value in augment.items() if key not in ("flip", "grayscale", "brightness", "shift")}
    return {**values, "augment": kept}


def _effective(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what had no effect with three branches before there was `loss.audio`, and has been refused since."""
    loss = values.get("loss", {})
    if values.get("consistency") is None or not isinstance(loss, dict) or "audio" in loss:
        return values
    loss = {key: value for key, value in loss.items() if key not in ("align", "margin")}
    return {**{key: value for key, value in values.items() if key != "audio_lr_scale"}, "loss": loss}


def _with(values: dict[str, Any], sections: list[str], last: str, value: Any) -> dict[str, Any]:
    """Set a key, unless it is there or its section is none."""
    if not sections:
        return {last: value, **values}
    inner = values.get(sections[0], {})
    return {**values, sections[0]: _with(inner, sections[1:], last, value)} if isinstance(inner, dict) else values
