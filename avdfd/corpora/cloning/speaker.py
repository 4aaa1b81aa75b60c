"""Speaker encoders: audio -> an embedding of unit length; the inner product measures the similarity of two voices.

ge2e    the encoder of Resemblyzer; its weights are part of a wheel, so it needs no network (default)
ecapa   ECAPA-TDNN by SpeechBrain, from a local folder

Shapes: audio (S,) float32 at 16 kHz, mel (T, 40) with 10 ms per frame, pieces (B, 160, 40), embedding (D,) float32.

References: GE2E: Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018; weights of
Resemblyzer 0.1.4 (Apache 2.0), trained on LibriSpeech-other, VoxCeleb1 and VoxCeleb2. ECAPA-TDNN: Desplanques et al.,
Interspeech 2020.
"""

import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from avdfd.config import EcapaConfig, Ge2eConfig
from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import sha256_of
from avdfd.core.text import read_text
from avdfd.features.acoustics import SILENCE
from avdfd.features.window import SAMPLE_RATE

Embed = Callable[[np.ndarray], np.ndarray]
"""Audio (S,) -> embedding (D,) of unit length. Raises MediaError if there is too little speech."""

SHORTEST = 0.5
"""Seconds of speech that an embedding needs."""

_WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
_ECAPA_PARTS = {
    f"!new:speechbrain.{name}"
    for name in (
        "lobes.features.Fbank",
        "processing.features.InputNormalization",
        "lobes.models.ECAPA_TDNN.ECAPA_TDNN",
        "lobes.models.ECAPA_TDNN.Classifier",
        "utils.parameter_transfer.Pretrainer",
        "dataio.encoder.CategoricalEncoder",
    )
}
"""Tags of the published hyperparams.yaml."""
_N_FFT, _HOP, _MELS = 400, 160, 40
_PIECE, _STEP = 160, 80  # mel frames
_COVERED = 0.75  # share of the last piece that must be filled
_LEVEL = 10 ** (-30 / 20)  # RMS to which quiet speech is amplified
_BLOCK = 480  # samples, 30 ms
_QUIET = 10 ** (-35 / 20)  # relative to the loudest block: a quieter block is a pause
_PAUSE = 6  # blocks of a pause that are kept


def open_encoder(cfg: Ge2eConfig | EcapaConfig) -> Embed:
    """Open the encoder of a config. Raises UserError if its weights or its library are missing."""
    return _ge2e() if cfg.kind == "ge2e" else _ecapa(Path(cfg.folder))


class Ge2e(nn.Module):
    """Three LSTM layers and a projection: pieces (B, T, 40) -> unit vectors (B, 256); keys as released."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, pieces: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(pieces)
        return F.normalize(self.linear(hidden[-1]).relu(), dim=-1)


@functools.cache
def _ge2e() -> Embed:
    # The package itself is not imported: it needs webrtcvad, which must be compiled.
    spec = importlib.util.find_spec("resemblyzer")
    weights = (
        Path(spec.submodule_search_locations[0], "pretrained.pt") if spec and spec.submodule_search_locations else None
    )
    if weights is None or not weights.is_file():
        raise UserError("the speaker encoder's weights are not installed; run bash setup.sh")
    if sha256_of(weights) != _WEIGHTS_SHA256:
        raise UserError(
            f"{weights}: not the weights of Resemblyzer 0.1.4; run: pip install --no-deps Resemblyzer==0.1.4"
        )
    state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    model = Ge2e()
    model.load_state_dict({key: value for key, value in state.items() if key.startswith(("lstm.", "linear."))})
    model.eval()

    def embed(samples: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pieces = model(_pieces(torch.from_numpy(speech_of(samples))))
            return F.normalize(pieces.mean(dim=0), dim=0).numpy()

    return embed


def _ecapa(folder: Path) -> Embed:
    try:
        from speechbrain.inference.speaker import EncoderClassifier
    except ImportError as error:
        raise UserError(
            f"encoder ecapa: SpeechBrain is not installed ({error}); run: pip install speechbrain"
        ) from None
    if not (folder / "hyperparams.yaml").is_file():
        raise UserError(f"{folder}: no hyperparams.yaml in it; give the folder of speechbrain/spkrec-ecapa-voxceleb")
    _refuse_code(folder / "hyperparams.yaml")
    # Its hyperparams point to the hub, but the weights are in the folder.
    model = EncoderClassifier.from_hparams(
        source=str(folder), savedir=str(folder), overrides={"pretrained_path": str(folder)}, run_opts={"device": "cpu"}
    )

    def embed(samples: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            vector = model.encode_batch(torch.from_numpy(speech_of(samples))[None]).flatten()
            return F.normalize(vector, dim=0).numpy()

    return embed


def _refuse_code(path: Path) -> None:
    """Raise UserError if a file of hyperparameters makes anything but the parts of the encoder.

    SpeechBrain calls whatever the tags of the file name, such as `!apply:os.system`.
    """
    lines = [line for line in read_text(path).splitlines() if not line.lstrip().startswith("#")]
    tags = [tag for line in lines for tag in re.findall(r"^%.*|![^\s,\]})]*", line)]
    foreign = [tag for tag in tags if tag != "!ref" and tag not in _ECAPA_PARTS]
    if foreign:
        raise UserError(
            f"{path}: has {foreign[0]!r}, which is no part of spkrec-ecapa-voxceleb and could run any code; get the "
            "file from its publisher again"
        )


def speech_of(samples: np.ndarray) -> np.ndarray:
    """Return the speech (S,) with long pauses shortened, at -30 dB or more. Raises MediaError if it is too short."""
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).astype(np.float64)
    loudness = np.sqrt(np.square(blocks).mean(axis=1))
    loud = loudness > max(loudness.max(initial=0.0) * _QUIET, SILENCE)
    kept = blocks[binary_dilation(loud, np.ones(_PAUSE + 1))].ravel()
    if len(kept) < SHORTEST * SAMPLE_RATE:
        raise MediaError(f"only {len(kept) / SAMPLE_RATE:.2f} s of speech, too little for a speaker embedding")
    return (kept * max(1.0, _LEVEL / np.sqrt(np.square(kept).mean()))).astype(np.float32)


def _pieces(samples: Tensor) -> Tensor:
    """Audio (S,) -> mel pieces (B, 160, 40) that overlap by half; the last one is padded with silence."""
    starts = range(0, max(1, len(samples) // _HOP - int(_COVERED * _PIECE) + 1), _STEP)
    samples = F.pad(samples, (0, max(0, (starts[-1] + _PIECE) * _HOP - len(samples))))
    window = torch.hann_window(_N_FFT)
    power = torch.stft(samples, _N_FFT, _HOP, window=window, pad_mode="constant", return_complex=True).abs().square()
    mel = (_filters() @ power).T
    return torch.stack([mel[start : start + _PIECE] for start in starts])


@functools.cache
def _filters() -> Tensor:
    """Return filters (40, 201) on Slaney's mel scale, each of unit area."""
    return torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_N_FFT, n_mels=_MELS))
