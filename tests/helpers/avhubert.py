"""AV-HuBERT as its released files have it, with drawn weights."""

import torch
from torch import Tensor

SIZES = {"encoder_layers": 2, "dim": 32, "heads": 4, "ffn_dim": 64, "width": 8}
"""Sizes of a small model."""
STEM = "feature_extractor_video.resnet.frontend3D.0.weight"


def released_layout(
    *, encoder_layers=12, dim=768, ffn_dim=3072, width=64, in_channels=1, clusters=2000, final_dim=256
) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a released checkpoint; the defaults are those of the base model."""

    def affine(name, *shape):
        return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    def batch_norm(name, channels):
        running = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
        return affine(name, channels) | running | {f"{name}.num_batches_tracked": ()}

    def block(name, before, channels):
        keys = {}
        for i, given in ((1, before), (2, channels)):
            keys |= {f"{name}.conv{i}.weight": (channels, given, 3, 3), f"{name}.relu{i}.weight": (channels,)}
            keys |= batch_norm(f"{name}.bn{i}", channels)
        if before != channels:
            keys |= {f"{name}.downsample.0.weight": (channels, before, 1, 1)}
            keys |= batch_norm(f"{name}.downsample.1", channels)
        return keys

    resnet = "feature_extractor_video.resnet"
    layout = {
        "mask_emb": (104,),
        "label_embs_concat": (clusters + 4, final_dim),
        STEM: (width, in_channels, 5, 7, 7),
        f"{resnet}.frontend3D.2.weight": (width,),
        "encoder.pos_conv.0.bias": (dim,),
        "encoder.pos_conv.0.weight_g": (1, 1, 128),
        "encoder.pos_conv.0.weight_v": (dim, dim // 16, 128),
    }
    layout |= batch_norm(f"{resnet}.frontend3D.1", width)
    before = width
    for number, channels in enumerate((width, 2 * width, 4 * width, 8 * width), start=1):
        layout |= block(f"{resnet}.trunk.layer{number}.0", before, channels)
        layout |= block(f"{resnet}.trunk.layer{number}.1", channels, channels)
        before = channels
    layout |= affine("feature_extractor_audio.proj", dim, 104)
    layout |= affine("feature_extractor_video.proj", dim, 8 * width)
    layout |= affine("layer_norm", 2 * dim)
    layout |= affine("post_extract_proj", dim, 2 * dim)
    layout |= affine("final_proj", final_dim, dim)
    layout |= affine("encoder.layer_norm", dim)
    for i in range(encoder_layers):
        layer = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            layout |= affine(f"{layer}.self_attn.{name}", dim, dim)
        layout |= affine(f"{layer}.self_attn_layer_norm", dim) | affine(f"{layer}.final_layer_norm", dim)
        layout |= affine(f"{layer}.fc1", ffn_dim, dim) | affine(f"{layer}.fc2", dim, ffn_dim)
    return layout


def drawn_weights(*, seed: int = 0, **sizes: int) -> dict[str, Tensor]:
    """Draw the weights of a released checkpoint of a small model, of a size that makes every part count."""
    generator = torch.Generator().manual_seed(seed)
    known = {key: value for key, value in {**SIZES, **sizes}.items() if key != "heads"}
    drawn = {}
    for key, shape in released_layout(**known, clusters=10).items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:  # variances stay near 1 through the layers
            values *= (2 / (values.numel() // shape[0])) ** 0.5
        drawn[key] = 0.5 + values.abs() if key.endswith(("running_var", "weight_g")) else values
        if key.endswith(".weight") and len(shape) == 1:
            drawn[key] = (
                0.25 + 0.1 * values if "relu" in key or key.endswith("frontend3D.2.weight") else 1 + 0.1 * values
            )
        if key.endswith(("bias", "running_mean")):
            drawn[key] = 0.1 * values
        if key.endswith("num_batches_tracked"):
            drawn[key] = torch.tensor(1)
    return drawn
