"""Pretrained audio encoders: the published architectures, and loading their weights from a file.

    reads   safetensors and bin of Hugging Face, with its config.json beside it; .pt of fairseq, Microsoft (WavLM) and
            OpenAI (Whisper); .pth of torchaudio; model.bin of CTranslate2 (Whisper)

A file is given by path and sha256. Nothing in it is run.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from avdfd.config import FrontConfig, FrontSizesConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.core.text import parse_json
from avdfd.models.front_ends import Sizes
from avdfd.models.front_ends.w2v_bert import W2vBert
from avdfd.models.front_ends.wav2vec2 import POSITION_GROUPS, wav2vec2
from avdfd.models.front_ends.wavlm import wavlm
from avdfd.models.front_ends.whisper import Whisper
from avdfd.training import front_keys
from avdfd.training.ctranslate2 import is_ctranslate2, read_whisper
from avdfd.training.state_dicts import fill, read_weights, unwrap

_BASE = Sizes(12, 768, 12, 3072)
_LARGE = Sizes(24, 1024, 16, 4096)


class Arch(NamedTuple):
    """A published architecture."""

    sizes: Sizes
    build: Callable[[Sizes], nn.Module]
    keys: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Function from the names of a file to the keys of the module."""


def _wav2vec2(
    sizes: Sizes, *, large: bool = False, conv_bias: bool = False, normalise: bool = False, zero_bias: bool = False
) -> Arch:
    options: dict[str, Any] = {"large": large, "conv_bias": conv_bias, "normalise": normalise}
    return Arch(
        sizes,
        lambda of: wav2vec2(sizes=of, **options),
        lambda weights: front_keys.of_wav2vec2(weights, zero_bias=zero_bias),
    )


def _wavlm(sizes: Sizes, *, large: bool = False) -> Arch:
    return Arch(sizes, lambda of: wavlm(sizes=of, large=large, normalise=large), front_keys.of_wavlm)


def _whisper(depth: int, dim: int, heads: int, bins: int = 80) -> Arch:
    return Arch(Sizes(depth, dim, heads, 4 * dim, bins), lambda of: Whisper(sizes=of), front_keys.of_whisper)


# Of the models of 768 dimensions, only mHuBERT-147 was trained on clips of variance 1.
ARCHS = {
    "ssl": {
        "wav2vec2-base": _wav2vec2(_BASE),
        "xls-r-300m": _wav2vec2(_LARGE, large=True, conv_bias=True, normalise=True),
        "xls-r-1b": _wav2vec2(Sizes(48, 1280, 16, 5120), large=True, conv_bias=True, normalise=True),
        "hubert-base": _wav2vec2(_BASE),
        "hubert-large": _wav2vec2(_LARGE, large=True, conv_bias=True, normalise=True, zero_bias=True),
        "mhubert-147": _wav2vec2(_BASE, normalise=True),
        "wavlm-base-plus": _wavlm(_BASE),
        "wavlm-large": _wavlm(_LARGE, large=True),
        "w2v-bert-2": Arch(Sizes(24, 1024, 16, 4096, 80), lambda of: W2vBert(sizes=of), front_keys.of_w2v_bert),
    },
    "whisper": {
        "tiny": _whisper(4, 384, 6),
        "base": _whisper(6, 512, 8),
        "small": _whisper(12, 768, 12),
        "medium": _whisper(24, 1024, 16),
        "large": _whisper(32, 1280, 20),
        "large-v3": _whisper(32, 1280, 20, 128),
    },
}
"""Architectures by kind and name. A Whisper for English alone (tiny.en) has the sizes of the other (tiny)."""

# Names in Hugging Face's config.json of the sizes that the shapes of weights do not show.
_HEADS = ("num_attention_heads", "encoder_attention_heads")


def sizes_of(cfg: FrontConfig) -> Sizes:
    """Return the sizes of a front end, as `stated_sizes` does."""
    return stated_sizes(cfg.kind, cfg.arch, cfg.sizes, key="model.front.sizes")


def stated_sizes(kind: str, arch: str, other: FrontSizesConfig | None, *, key: str) -> Sizes:
    """Return the sizes of an encoder: those of its architecture, or `other` ones, which the config has at `key`.

    Raises UserError if the width does not divide into the attention heads, or into the groups of the convolution by
    which wav2vec 2.0 and its relatives encode position.
    """
    published = ARCHS[kind][arch].sizes
    if other is None:
        return published
    sizes = published._replace(**other.model_dump(exclude_none=True))
    parts = {"heads": sizes.heads}
    if kind == "ssl" and arch != "w2v-bert-2":
        parts["the groups of its convolution"] = POSITION_GROUPS
    for name, number in parts.items():
        if sizes.dim % number:
            raise UserError(f"{key}: dim {sizes.dim} must be a multiple of {name}, {number}")
    return sizes


def build_front(cfg: FrontConfig) -> nn.Module:
    """Return an encoder with random weights."""
    return ARCHS[cfg.kind][cfg.arch].build(sizes_of(cfg))


def load_front(cfg: FrontConfig, folders: Iterable[Path] = ()) -> nn.Module:
    """Return the encoder with the weights of its file, in eval mode. Raises UserError as `fill_front` does."""
    model = build_front(cfg)
    fill_front(model, cfg, folders)
    return model.eval()


def fill_front(model: nn.Module, cfg: FrontConfig, folders: Iterable[Path] = ()) -> None:
    """Give an encoder the weights of its file.

    The file is looked for where the config says, then by its name in the folders. Raises UserError if it is not found,
    has another sha256, is damaged, or holds another model.
    """
    path = find_file(cfg.file, cfg.sha256, folders, of=f"the encoder {cfg.arch}", key="model.front.file")
    fill(model, read_front(path, cfg), str(path))


def find_file(file: str, sha256: str, folders: Iterable[Path] = (), *, of: str, key: str) -> Path:
    """Return the path of a file of weights with this sha256, there or by its name in the folders.

    Raises UserError that says what it is `of`, and the `key` of the config, if there is none.
    """
    candidates = [Path(file), *(folder / Path(file).name for folder in folders)]
    found: dict[Path, str] = {}
    for path in (path for path in candidates if path.is_file()):
        found[path] = sha256_of(path)
        if found[path] == sha256:
            return path
    if not found:
        looked = ", ".join(str(path) for path in candidates)
        raise UserError(
            f"{looked}: no such file of weights; {of} has sha256 {sha256}: correct {key}, or name its folder with "
            "--encoders"
        )
    path, digest = next(iter(found.items()))
    raise UserError(f"{path}: sha256 is {digest}, the config expects {sha256}; get the file again")


def read_front(path: Path, cfg: FrontConfig) -> dict[str, Tensor]:
    """Read the weights of an encoder by the keys of its module. Raises UserError for a damaged or foreign file."""
    heads = sizes_of(cfg).heads
    if cfg.kind == "whisper" and is_ctranslate2(path):
        encoder = read_whisper(path)
        _check_heads(encoder.heads, heads, path)
        return encoder.state
    beside = path.with_name("config.json")
    if path.suffix in (".safetensors", ".bin") and beside.is_file():
        try:
            stated = parse_json(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{beside}: not JSON ({error}); get the file again") from None
        if isinstance(stated, dict):
            _check_heads(next((stated[name] for name in _HEADS if name in stated), None), heads, beside)
    return ARCHS[cfg.kind][cfg.arch].keys(unwrap(read_weights(path), str(path)))


def _check_heads(found: object, expected: int, path: Path) -> None:
    if found is not None and found != expected:
        raise UserError(
            f"{path}: an encoder of {found} attention heads, model.front has one of {expected}; "
            "correct model.front.arch"
        )
