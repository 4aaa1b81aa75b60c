"""Names of weights in published files of pretrained audio encoders -> keys of the modules in `models/front_ends`.

Weights that only the pretraining or another task uses (quantiser, mask, classifier, decoder) are dropped. Any other
name that is not known stays as it is, so that loading reports it.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

_UNUSED = re.compile(
    r"(mask_emb|masked_spec_embed|quantizer\.|project_q\.|project_hid\.|final_proj\.|label_embs_concat|lm_head\."
    r"|proj\.|aux\.|classifier\.|mask_generator\.|logit_generator\.|target_glu\.|_float_tensor|adapter\.)"
)
_WRAPPERS = ("w2v_encoder.w2v_model.", "w2v_model.", "wav2vec2_bert.", "wav2vec2.", "hubert.", "wavlm.", "module.")

# (pattern, replacement), the first that matches: fairseq's and Microsoft's names.
_FAIRSEQ = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"feature_extractor\.conv_layers\.0\.2\.", r"feature_extractor.conv_layers.0.layer_norm."),
    (r"post_extract_proj\.", r"encoder.feature_projection.projection."),
    (r"layer_norm\.", r"encoder.feature_projection.layer_norm."),
    (r"encoder\.pos_conv\.0\.", r"encoder.transformer.pos_conv_embed.conv."),
    (r"encoder\.layer_norm\.", r"encoder.transformer.layer_norm."),
    *(
        (rf"encoder\.layers\.(\d+)\.{old}", rf"encoder.transformer.layers.\1.{new}")
        for old, new in (
            (r"self_attn\.relative_attention_bias\.", "attention.rel_attn_embed."),
            (r"self_attn\.grep_linear\.", "attention.gru_rel_pos_linear."),
            (r"self_attn\.grep_a$", "attention.gru_rel_pos_const"),
            (r"self_attn\.", "attention."),
            (r"self_attn_layer_norm\.", "layer_norm."),
            (r"fc1\.", "feed_forward.intermediate_dense."),
            (r"fc2\.", "feed_forward.output_dense."),
            (r"final_layer_norm\.", "final_layer_norm."),
        )
    ),
)
_HUGGING_FACE = (
    (r"feature_projection\.", r"encoder.feature_projection."),
    (r"encoder\.", r"encoder.transformer."),
)
_OPENAI = (
    (r"positional_embedding$", r"embed_positions.weight"),
    (r"blocks\.(\d+)\.attn\.query\.", r"layers.\1.self_attn.q_proj."),
    (r"blocks\.(\d+)\.attn\.key\.", r"layers.\1.self_attn.k_proj."),
    (r"blocks\.(\d+)\.attn\.value\.", r"layers.\1.self_attn.v_proj."),
    (r"blocks\.(\d+)\.attn\.out\.", r"layers.\1.self_attn.out_proj."),
    (r"blocks\.(\d+)\.attn_ln\.", r"layers.\1.self_attn_layer_norm."),
    (r"blocks\.(\d+)\.mlp\.0\.", r"layers.\1.fc1."),
    (r"blocks\.(\d+)\.mlp\.2\.", r"layers.\1.fc2."),
    (r"blocks\.(\d+)\.mlp_ln\.", r"layers.\1.final_layer_norm."),
    (r"ln_post\.", r"layer_norm."),
)
_WEIGHT_NORM = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}


def of_wav2vec2(weights: Weights, *, zero_bias: bool = False) -> dict[str, Tensor]:
    """Names of Hugging Face, fairseq or torchaudio -> keys of `Wav2Vec2`.

    With `zero_bias`, convolutions without a bias get one of zeros: files of HuBERT large have it or not.
    """
    state = _of_torchaudio(weights)
    if zero_bias:
        convolution = re.compile(r"model\.feature_extractor\.conv_layers\.\d+\.conv\.weight")
        for key in [key for key in state if convolution.fullmatch(key)]:
            state.setdefault(key.removesuffix("weight") + "bias", torch.zeros(state[key].shape[:1]))
    return state


def of_wavlm(weights: Weights) -> dict[str, Tensor]:
    """Names of Hugging Face, Microsoft or torchaudio -> keys of `wavlm`, which joins the inputs of its attention."""
    state = _of_torchaudio(weights)
    joined: dict[str, Tensor] = {}
    for key, value in state.items():
        found = re.fullmatch(r"(.*\.attention\.)(q|k|v)_proj\.(weight|bias)", key)
        if found is None:
            out = re.fullmatch(r"(.*\.layers\.\d+\.attention\.)(out_proj\..*)", key)
            joined[key if out is None else f"{out[1]}attention.{out[2]}"] = value
        elif found[2] == "q":
            names = [f"{found[1]}{part}_proj.{found[3]}" for part in "qkv"]
            if all(name in state for name in names):
                joined[f"{found[1]}attention.in_proj_{found[3]}"] = torch.cat([state[name] for name in names])
    return joined


def of_w2v_bert(weights: Weights) -> dict[str, Tensor]:
    """Names of Hugging Face -> keys of `W2vBert`."""
    return _used(weights)


def of_whisper(weights: Weights) -> dict[str, Tensor]:
    """Names of Hugging Face or OpenAI -> keys of `Whisper`."""
    encoder = {}
    for key, value in weights.items():
        inner = key.removeprefix("model.")
        if inner.startswith("encoder."):
            encoder[_renamed(inner.removeprefix("encoder."), _OPENAI)] = value
        elif not inner.startswith("decoder.") and inner != "proj_out.weight":
            encoder[key] = value
    return encoder


def _of_torchaudio(weights: Weights) -> dict[str, Tensor]:
    """Return the state dict of a module with torchaudio's model as `model`."""
    used = _used(weights)
    rules: tuple[tuple[str, str], ...] = ()
    if any(key.startswith("post_extract_proj.") for key in used):
        rules = _FAIRSEQ
    elif any(key.startswith("feature_projection.") for key in used):
        rules = _HUGGING_FACE
    state = {}
    for key, value in used.items():
        new = _renamed(key, rules)
        for old, parametrised in _WEIGHT_NORM.items():
            new = new.removesuffix(old) + parametrised if new.endswith(old) else new
        # Microsoft's files have the constant of the gate in another shape.
        state[f"model.{new}"] = value.reshape(1, -1, 1, 1) if new.endswith("gru_rel_pos_const") else value
    return state


def _used(weights: Weights) -> dict[str, Tensor]:
    """Return the weights of the encoder, without the wrapper that their names may begin with."""
    wrapper = next((name for name in _WRAPPERS if any(key.startswith(name) for key in weights)), "")
    inner = {key.removeprefix(wrapper): value for key, value in weights.items()}
    return {key: value for key, value in inner.items() if not _UNUSED.match(key)}


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        new, count = re.subn(f"^{pattern}", replacement, key)
        if count:
            return new
    return key
