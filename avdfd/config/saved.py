"""Configs that runs have saved, also with an earlier version of the code.

A key that is newer than a saved config means what its run did. Mostly that is the key's default; the others are here.
"""

from typing import Any

from avdfd.config.base import OF_FRAMES, S
from avdfd.config.loading import parse
from avdfd.config.recipes import OptimConfig
from avdfd.config.stage1 import OF_FITTED


def completed(values: dict[str, Any]) -> dict[str, Any]:
    """Return a saved config with what was done before a key existed, for the keys that it lacks."""
    if values.get("kind") == "consistency":
        return _effective_mouth(values)
    if values.get("kind") == "pretrain":
        return _effective_audio(values)
    if values.get("kind") == "avff":
        return _with(values, ["model"], "normalisation", "imagenet")
    if values.get("kind") != "train":
        return values
    values = _effective(_with(values, ["visual"], "normalisation", "imagenet"))
    return values if values.get("direction", "a2v") == "a2v" else _with(values, [], "anchors", "own")


def completed_mouth(model: dict[str, Any]) -> dict[str, Any]:
    """Return a saved model of stage 2a likewise: on an encoder, it took all features."""
    return _with(model, [], "components", 0) if _on_encoder(model) else model


def parse_saved(values: dict[str, Any], model: type[S], source: str) -> S:
    """Convert a saved config to a typed one. Raises UserError naming `source` and the key."""
    return parse(completed(values), model, source)


def _without_frames(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out the augmentation of frames, which stages 1 and 2a do not take; it has been refused since."""
    for key in OF_FRAMES:
        values = _without(values, ["augment", key])
    return values


def _effective_audio(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a config of stage 1 what had no effect on it and has been refused since."""
    model = values.get("model")
    if isinstance(model, dict) and model.get("score") != "fitted":
        values = {key: value for key, value in values.items() if key not in OF_FITTED}
    return _without_frames(values)


def _effective_mouth(values: dict[str, Any]) -> dict[str, Any]:
    """Complete a config of stage 2a, and leave out what has no effect on it and has been refused since."""
    model = values.get("model")
    if isinstance(model, dict):
        values = {**values, "model": completed_mouth(model)}
    unused = ["speed", "faithful", "data.min_fake", "data.balance_tiers"]
    if values.get("method", "least-squares") == "least-squares":
        unused += ["save_minutes", "max_bad_steps", "select.first_epoch", "select.patience"]
        if isinstance(model, dict) and _on_encoder(model):
            unused += [f"optim.{key}" for key in OptimConfig.model_fields if key != "precision"]
        else:
            unused += ["optim", "data.home", "data.decode"]
    for key in unused:
        values = _without(values, key.split("."))
    return _without_frames(values)


def _effective(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what had no effect with three branches before there was `loss.audio`, and has been refused since."""
    loss = values.get("loss", {})
    if values.get("consistency") is None or not isinstance(loss, dict) or "audio" in loss:
        return values
    loss = {key: value for key, value in loss.items() if key not in ("align", "margin")}
    return {**{key: value for key, value in values.items() if key != "audio_lr_scale"}, "loss": loss}


def _on_encoder(model: dict[str, Any]) -> bool:
    representation = model.get("representation")
    return isinstance(representation, dict) and representation.get("kind", "mouth-shape") != "mouth-shape"


def _without(values: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """Leave out a key, if it and its sections are there."""
    if len(keys) == 1:
        return {key: value for key, value in values.items() if key != keys[0]}
    inner = values.get(keys[0])
    return {**values, keys[0]: _without(inner, keys[1:])} if isinstance(inner, dict) else values


def _with(values: dict[str, Any], sections: list[str], last: str, value: Any) -> dict[str, Any]:
    """Set a key, unless it is there or its section is none."""
    if not sections:
        return {last: value, **values}
    inner = values.get(sections[0], {})
    return {**values, sections[0]: _with(inner, sections[1:], last, value)} if isinstance(inner, dict) else values
