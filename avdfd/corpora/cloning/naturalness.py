"""Naturalness of speech without a reference: DNSMOS P.835, a network trained on the ratings of listeners.

Its speech quality (SIG, 1 to 5) is used; background noise has its own score and depends on the audio chain. A clone is
compared with the score of its source, because a good clone of a bad recording has a low score, too.

References: Reddy, Gopal and Cutler, "DNSMOS P.835: A non-intrusive perceptual objective speech quality metric to
evaluate noise suppressors", ICASSP 2022; the model `sig_bak_ovr.onnx` of speechmos 0.0.1.1 (MIT).
"""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.features.window import SAMPLE_RATE

_MODEL = "dnsmos_models/sig_bak_ovr.onnx"
_SHA256 = "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd"
_LENGTH = 144_160  # samples of an input, 9.01 s
_CALIBRATION = (-0.08397278, 1.22083953, 0.0052439)  # polynomial from the raw output to the rating scale


def open_naturalness() -> Callable[[np.ndarray], float]:
    """Return a function from samples (S,) float32 at 16 kHz to their speech quality.

    Raises UserError if the weights are not installed.
    """
    session = _session()

    def rate(samples: np.ndarray) -> float:
        if len(samples) < _LENGTH:  # shorter audio is repeated
            samples = np.tile(samples, -(-_LENGTH // max(1, len(samples))))[:_LENGTH]
        starts = range(0, len(samples) - _LENGTH + 1, SAMPLE_RATE)
        raw = [
            session.run(None, {"input_1": samples[None, s : s + _LENGTH].astype(np.float32)})[0][0, 0] for s in starts
        ]
        return float(np.polyval(_CALIBRATION, np.array(raw, np.float64)).mean())

    return rate


@functools.cache
def _session() -> Any:
    spec = importlib.util.find_spec("speechmos")
    model = Path(spec.submodule_search_locations[0], _MODEL) if spec and spec.submodule_search_locations else None
    if model is None or not model.is_file():
        raise UserError("the weights of DNSMOS are not installed; run bash setup.sh")
    if sha256_of(model) != _SHA256:
        raise UserError(f"{model}: not the model of speechmos 0.0.1.1; run: pip install --no-deps speechmos==0.0.1.1")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # there is one worker per core already
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
