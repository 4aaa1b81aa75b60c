"""Driver of Plachtaa/seed-vc: runs in its checkout, with the Python of its environment, and converts on request.

    python seed_vc_driver.py < requests > answers        (in the folder of the checkout)

The models are loaded once. Requests and answers are JSON lines:

    {"settings": {...}}                   the first: arguments of inference_v2.py
    {"source": WAV, "reference": WAV, "output": WAV, "seed": N, "settings": {...}}
    {"ok": true} or {"error": "..."}      one answer each, the first when the models are loaded

It imports nothing from avdfd, which has other requirements. It ends when its input ends.
"""

import importlib
import json
import os
import random
import sys
import traceback
from argparse import Namespace
from typing import Any

import numpy as np
import soundfile
import torch


def main() -> None:
    """Answer requests. Answers go to the original stdout; prints of the models go to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    settings: dict[str, Any] = {}
    answer: dict[str, Any]
    for line in sys.stdin:
        request = json.loads(line)
        try:
            settings = handle(request, settings)
            answer = {"ok": True}
        except Exception as error:  # every error must reach the caller
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def handle(request: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Load the models, or convert one recording. Return the settings for the following requests."""
    inference: Any = importlib.import_module("inference_v2")
    if "source" not in request:
        inference.vc_wrapper_v2 = inference.load_v2_models(Namespace(**request["settings"]))
        return dict(request["settings"])
    torch.manual_seed(request["seed"])  # of all devices
    np.random.seed(request["seed"])
    random.seed(request["seed"])
    arguments = Namespace(**{**settings, **request["settings"]})
    result = inference.convert_voice_v2(request["source"], request["reference"], arguments)
    if result is None:
        raise RuntimeError("no result")
    rate, samples = result
    soundfile.write(request["output"], samples, rate, subtype="FLOAT")
    return settings


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        main()
