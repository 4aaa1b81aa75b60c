"""Modules whose weights are not carried by the model that they are a part of, as they come from a file of their own."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn


def leave_out(model: nn.Module, name: str) -> None:
    """Leave a submodule out of the model's state_dict, and keep its weights when one is loaded.

    The submodule may be None, and be set later.
    """
    model.register_state_dict_post_hook(partial(_remove, name))
    model.register_load_state_dict_pre_hook(partial(_fill_in, name))


def _remove(name: str, _: nn.Module, state: dict[str, Any], prefix: str, __: Mapping[str, Any]) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}{name}.")]:
        del state[key]


def _fill_in(name: str, model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    module = getattr(model, name)
    if module is not None:
        state.update(module.state_dict(prefix=f"{prefix}{name}."))
