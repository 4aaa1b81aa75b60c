"""Pretrained audio encoders against transformers, on drawn weights of small sizes, from files of every format."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avdfd.config import FrontConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.models.front_ends import w2v_bert, whisper
from avdfd.training.front_ends import ARCHS, build_front, load_front

SMALL: dict[str, Any] = {"depth": 3, "dim": 32, "heads": 2, "mlp_dim": 48, "channels": 16}
SECONDS = 0.4
LARGE = ("xls-r-300m", "xls-r-1b", "hubert-large", "wavlm-large")
SSL = tuple(ARCHS["ssl"])
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


def waveforms(count: int = 3, seconds: float = SECONDS) -> Tensor:
    return torch.randn(count, int(16_000 * seconds), generator=torch.Generator().manual_seed(1)) / 10


def kind_of(arch: str) -> str:
    return "whisper" if arch in ARCHS["whisper"] else "ssl"


UNREAD: dict[str, Any] = {"file": "none.safetensors", "sha256": "0" * 64, "sizes": SMALL}


def published(arch: str) -> Any:
    """A model of transformers with small sizes and drawn weights, its norms too."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    if arch in ARCHS["whisper"]:
        whisper_sizes = {"encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "num_mel_bins": 16}
        other = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 8}
        tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
        model = transformers.WhisperModel(transformers.WhisperConfig(d_model=32, **whisper_sizes, **other, **tokens))
    elif arch == "w2v-bert-2":
        model = transformers.Wav2Vec2BertModel(
            transformers.Wav2Vec2BertConfig(**sizes, feature_projection_input_dim=32)
        )
    else:
        large = arch in LARGE
        family = "WavLM" if arch.startswith("wavlm") else "Hubert" if "hubert" in arch else "Wav2Vec2"
        config = getattr(transformers, f"{family}Config")(
            **sizes,
            conv_dim=(16,) * 7,
            feat_extract_norm="layer" if large else "group",
            do_stable_layer_norm=large,
            conv_bias=large and family != "WavLM",
        )
        model = getattr(transformers, f"{family}Model")(config)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def config(path: Path, arch: str, **other: Any) -> FrontConfig:
    known = {"kind": kind_of(arch), "arch": arch, "file": str(path), "sha256": sha256_of(path), "sizes": SMALL, **other}
    return FrontConfig.model_validate(known)


def saved(model: Any, folder: Path, form: str = "safetensors") -> Path:
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    if form == "bin":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        path = folder / "pytorch_model.bin"
    return path


def expected_states(model: Any, arch: str, audio: Tensor) -> list[Tensor]:
    """Hidden states of transformers for clips of one length; the last one is after the final norm."""
    of = model.encoder if arch in ARCHS["whisper"] else model
    if arch == "w2v-bert-2":
        audio = w2v_bert.filter_bank(audio, 16)
    elif arch in ARCHS["whisper"]:
        audio = whisper.log_mel(audio, 16)
    elif arch in LARGE or arch == "mhubert-147":
        audio = torch.nn.functional.layer_norm(audio, audio.shape[-1:])
    with torch.no_grad():
        out = of(audio, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.last_hidden_state]


def audio_for(arch: str) -> Tensor:
    """Whisper in transformers takes 30 s and nothing else."""
    return waveforms(1, 30.0) if arch in ARCHS["whisper"] else waveforms()


@pytest.mark.parametrize("arch", [*SSL, "tiny"])
def test_hidden_states_are_those_of_transformers(arch: str, tmp_path: Path):
    model, audio = published(arch), audio_for(arch)
    front = load_front(config(saved(model, tmp_path), arch))
    with torch.no_grad():
        states, some = front(audio), front(audio, last=1)
    expected = expected_states(model, arch, audio)
    assert len(states) == len(expected) == SMALL["depth"] + 1
    assert len(some) == 2
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **TOLERANCE)
    torch.testing.assert_close(some[1], states[1])


@pytest.mark.parametrize("arch", [arch for arch in SSL if arch in LARGE or arch == "w2v-bert-2"])
def test_padded_clips_are_those_of_transformers_with_a_mask(arch: str, tmp_path: Path):
    """Models with a group norm over time have no mask in transformers: they take the padding in."""
    model, audio = published(arch), waveforms()
    front = load_front(config(saved(model, tmp_path), arch))
    lengths = torch.tensor([6_400, 3_000, 4_321])
    with torch.no_grad():
        states = front(audio, lengths)
        if arch == "w2v-bert-2":
            banks = [
                w2v_bert.filter_bank(clip[None, :length], 16)[0] for clip, length in zip(audio, lengths, strict=True)
            ]
            given = torch.nn.utils.rnn.pad_sequence(banks, batch_first=True)
            mask = torch.tensor([[i < len(bank) for i in range(given.shape[1])] for bank in banks])
        else:
            given, mask = torch.zeros_like(audio), torch.zeros_like(audio, dtype=torch.long)
            for row, (clip, length) in enumerate(zip(audio, lengths.tolist(), strict=True)):
                given[row, :length] = torch.nn.functional.layer_norm(clip[:length], (length,))
                mask[row, :length] = 1
        out = model(given, attention_mask=mask, output_hidden_states=True)
    for ours, theirs in zip(states, [*out.hidden_states[:-1], out.last_hidden_state], strict=True):
        for row, length in enumerate(lengths.tolist()):
            count = len(front(audio[row : row + 1, :length], last=0)[0][0])
            torch.testing.assert_close(ours[row, :count], theirs[row, :count], **TOLERANCE)
            assert not ours[row, count:].any()


@pytest.mark.parametrize("arch", [*SSL, "tiny"])
def test_a_clip_depends_neither_on_padding_nor_on_others(arch: str):
    torch.manual_seed(0)
    front = build_front(FrontConfig.model_validate({**UNREAD, "kind": kind_of(arch), "arch": arch})).eval()
    audio, lengths = waveforms(), torch.tensor([6_400, 3_000, 3_000])
    with torch.no_grad():
        together = front(audio, lengths)
        for row, length in enumerate(lengths.tolist()):
            for alone, padded in zip(front(audio[row : row + 1, :length]), together, strict=True):
                torch.testing.assert_close(padded[row, : alone.shape[1]], alone[0])


def test_whisper_has_the_mel_of_its_feature_extractor():
    transformers = pytest.importorskip("transformers")
    audio = waveforms(2, 30.0)
    expected = transformers.WhisperFeatureExtractor(feature_size=80)([*audio.numpy()], sampling_rate=16_000)
    found = whisper.log_mel(audio, 80)
    torch.testing.assert_close(found, torch.tensor(expected["input_features"]), rtol=1e-4, atol=1e-4)


def test_w2v_bert_has_the_filter_bank_of_its_feature_extractor():
    transformers = pytest.importorskip("transformers")
    audio = waveforms(2, 1.01)  # an odd number of frames
    extractor = transformers.SeamlessM4TFeatureExtractor()
    expected = extractor([*audio.numpy()], sampling_rate=16_000, return_tensors="pt")
    count = int(expected["attention_mask"][0].sum())
    found = w2v_bert.filter_bank(audio, 80)
    assert found.shape == (2, count, 160)
    torch.testing.assert_close(found, expected["input_features"][:, :count], rtol=1e-3, atol=2e-3)


# ---- formats

FAIRSEQ = (
    (r"feature_extractor\.conv_layers\.(\d)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"encoder\.pos_conv_embed\.conv\.bias", "encoder.pos_conv.0.bias"),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
    (r"encoder\.layers\.(\d)\.attention\.gru_rel_pos_linear\.", r"encoder.layers.\1.self_attn.grep_linear."),
    (r"encoder\.layers\.(\d)\.attention\.gru_rel_pos_const", r"encoder.layers.\1.self_attn.grep_a"),
    (r"encoder\.layers\.(\d)\.attention\.rel_attn_embed\.", r"encoder.layers.\1.self_attn.relative_attention_bias."),
    (r"encoder\.layers\.(\d)\.attention\.", r"encoder.layers.\1.self_attn."),
    (r"encoder\.layers\.(\d)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
    (r"encoder\.layers\.(\d)\.feed_forward\.intermediate_dense\.", r"encoder.layers.\1.fc1."),
    (r"encoder\.layers\.(\d)\.feed_forward\.output_dense\.", r"encoder.layers.\1.fc2."),
    (r"masked_spec_embed", "mask_emb"),
)
OPENAI = (
    (r"embed_positions\.weight", "positional_embedding"),
    (r"layers\.(\d)\.self_attn\.q_proj\.", r"blocks.\1.attn.query."),
    (r"layers\.(\d)\.self_attn\.k_proj\.", r"blocks.\1.attn.key."),
    (r"layers\.(\d)\.self_attn\.v_proj\.", r"blocks.\1.attn.value."),
    (r"layers\.(\d)\.self_attn\.out_proj\.", r"blocks.\1.attn.out."),
    (r"layers\.(\d)\.self_attn_layer_norm\.", r"blocks.\1.attn_ln."),
    (r"layers\.(\d)\.fc1\.", r"blocks.\1.mlp.0."),
    (r"layers\.(\d)\.fc2\.", r"blocks.\1.mlp.2."),
    (r"layers\.(\d)\.final_layer_norm\.", r"blocks.\1.mlp_ln."),
    (r"layer_norm\.", "ln_post."),
)


def renamed(state: dict[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    new = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in rules:
            name, count = re.subn(f"^{pattern}", replacement, key)
            if count:
                break
        new[name] = value
    return new


def as_fairseq(model: Any, arch: str) -> dict[str, Tensor]:
    norm = r"feature_extractor.conv_layers.\1.2.1." if arch in LARGE else r"feature_extractor.conv_layers.\1.2."
    rules = ((r"feature_extractor\.conv_layers\.(\d)\.layer_norm\.", norm), *FAIRSEQ)
    return renamed(model.state_dict(), rules)


@pytest.mark.parametrize("arch", ["wav2vec2-base", "xls-r-300m", "hubert-large", "wavlm-base-plus", "wavlm-large"])
@pytest.mark.parametrize("zipped", [True, False])
def test_fairseq_and_microsoft_files_hold_the_same(arch: str, zipped: bool, tmp_path: Path):
    model = published(arch)
    expected = load_front(config(saved(model, tmp_path), arch)).state_dict()
    state = as_fairseq(model, arch)
    for key in [key for key in state if key.endswith("grep_a")]:
        state[key] = state[key].reshape(1, 2, 1, 1)
    if arch == "hubert-large":  # published without biases, which are zeros
        for key in [key for key in state if re.fullmatch(r"feature_extractor\.conv_layers\.\d\.0\.bias", key)]:
            expected[f"model.{key.replace('.0.bias', '.conv.bias')}"].zero_()
            del state[key]
    content = {"args": argparse.Namespace(a=1), "model": {**state, "quantizer.vars": torch.zeros(1)}}
    torch.save(content, tmp_path / "fairseq.pt", _use_new_zipfile_serialization=zipped)
    found = load_front(config(tmp_path / "fairseq.pt", arch)).state_dict()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("arch", ["wav2vec2-base", "wavlm-large"])
def test_torchaudio_files_hold_the_same(arch: str, tmp_path: Path):
    front = build_front(FrontConfig.model_validate({**UNREAD, "kind": "ssl", "arch": arch}))
    state = {key.removeprefix("model."): value for key, value in front.state_dict().items()}
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):  # the names of older versions
        conv = "encoder.transformer.pos_conv_embed.conv."
        state[conv + old] = state.pop(f"{conv}parametrizations.weight.{new}")
    torch.save({**state, "aux.weight": torch.zeros(2, 2)}, tmp_path / "torchaudio.pth")
    found = load_front(config(tmp_path / "torchaudio.pth", arch)).state_dict()
    torch.testing.assert_close(found, front.state_dict(), rtol=0, atol=0)


def test_openai_files_hold_the_same(tmp_path: Path):
    model = published("tiny")
    expected = load_front(config(saved(model, tmp_path), "tiny")).state_dict()
    encoder = {f"encoder.{key}": value for key, value in renamed(model.encoder.state_dict(), OPENAI).items()}
    content = {"dims": {"n_mels": 16}, "model_state_dict": {**encoder, "decoder.ln.weight": torch.zeros(1)}}
    torch.save(content, tmp_path / "tiny.pt")
    torch.testing.assert_close(load_front(config(tmp_path / "tiny.pt", "tiny")).state_dict(), expected, rtol=0, atol=0)


def test_a_foreign_or_incomplete_file_is_named(tmp_path: Path):
    front = build_front(FrontConfig.model_validate({**UNREAD, "kind": "ssl", "arch": "wav2vec2-base"}))
    state = front.state_dict()
    path = tmp_path / "model.pt"
    plain = {key.removeprefix("model."): value for key, value in state.items()}
    torch.save({**plain, "other": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"has unexpected 1 of \d+ keys, e\.g\. 'model\.other'"):
        load_front(config(path, "wav2vec2-base"))
    plain.pop("encoder.transformer.layer_norm.bias")
    torch.save(plain, path)
    with pytest.raises(UserError, match=r"lacks 1 of \d+ keys, e\.g\. 'model\.encoder\.transformer\.layer_norm\.bias'"):
        load_front(config(path, "wav2vec2-base"))


def test_a_file_is_found_by_its_sha256(tmp_path: Path):
    front = build_front(FrontConfig.model_validate({**UNREAD, "kind": "ssl", "arch": "hubert-base"}))
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "hubert.pt"
    torch.save({key.removeprefix("model."): value for key, value in front.state_dict().items()}, path)
    cfg = config(path, "hubert-base").model_copy(update={"file": str(tmp_path / "gone" / "hubert.pt")})
    with pytest.raises(UserError, match=r"gone/hubert\.pt: no such file of weights; .* with --encoders"):
        load_front(cfg)
    torch.testing.assert_close(load_front(cfg, [tmp_path / "elsewhere"]).state_dict(), front.state_dict())
    with pytest.raises(UserError, match=r"hubert\.pt: sha256 is .*, the config expects 000"):
        load_front(config(path, "hubert-base").model_copy(update={"sha256": "0" * 64}))


def test_other_heads_in_config_json_are_refused(tmp_path: Path):
    path = saved(published("hubert-base"), tmp_path)
    cfg = config(path, "hubert-base", sizes={**SMALL, "heads": 4})
    with pytest.raises(UserError, match=r"config\.json: an encoder of 2 attention heads, model\.front has one of 4"):
        load_front(cfg)


@pytest.mark.parametrize(
    ("kind", "arch", "sizes", "problem"),
    [
        (
            "ssl",
            "wavlm-large",
            {"dim": 24, "heads": 2},
            "dim 24 must be a multiple of the groups of its convolution, 16",
        ),
        ("ssl", "w2v-bert-2", {"dim": 24, "heads": 5}, "dim 24 must be a multiple of heads, 5"),
        ("whisper", "tiny", {"heads": 7}, "dim 384 must be a multiple of heads, 7"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(kind: str, arch: str, sizes: dict[str, int], problem: str):
    cfg = FrontConfig.model_validate({**UNREAD, "kind": kind, "arch": arch, "sizes": sizes})
    with pytest.raises(UserError, match=f"model.front.sizes: {problem}"):
        build_front(cfg)
