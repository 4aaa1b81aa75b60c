"""AV-HuBERT: front ends for speech and lips, and the transformer that fuses them.

    B batch   T video frames, 25 per second   F 104 audio features per frame   C image channels   D width

The state_dict keys are those of the released (fairseq) checkpoints, less those that only pre-training or recognition
uses.

References:
    Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster Prediction", ICLR 2022.
    Stafylakis and Tzimiropoulos, "Combining Residual Networks with LSTMs for Lipreading", Interspeech 2017 (3-D stem).
    Baevski et al., "wav2vec 2.0", NeurIPS 2020 (convolutional positions).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from OpenAVFF.stack import Stack

AUDIO_FEATURES = 104

_PRETRAINING = ("mask_emb", "label_embs_concat", "final_proj.")
_FINE_TUNED, _DECODER = "encoder.w2v_model.", "decoder."


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.PReLU(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(out)) + self.downsample(x))


class Trunk(nn.Module):
    """ResNet-18 without stem and classifier: (N, width, H, W) -> (N, 8 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(-2, -1))


class ResNet(nn.Module):
    """Stem over 5 frames, then the trunk on every frame: (B, C, T, H, W) -> (B, T, 8 width).

    Frames where the mask (B, T) is True are left out after the stem's convolution: they enter no statistics of a batch
    norm and cost no computation. Their features are 0.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(in_channels, width, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.PReLU(width),
        )
        self.trunk = Trunk(width)

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        if padding_mask is None:
            features = self._each(rearrange(self.frontend3D(video), "b c t h w -> (b t) c h w"))
            return rearrange(features, "(b t) d -> b t d", t=video.shape[2])
        convolution, *rest = self.frontend3D
        x = rearrange(convolution(video), "b c t h w -> b t c 1 h w")[~padding_mask]
        for layer in rest:
            x = layer(x)
        features = self._each(x.squeeze(2))
        empty = features.new_zeros((*padding_mask.shape, features.shape[1]))
        return empty.masked_scatter(~padding_mask[..., None], features)

    def _each(self, x: Tensor) -> Tensor:
        """Frames after the stem (N, width, H, W) -> (N, 8 width)."""
        # Pooling, convolutions and norms are faster with the channels last in memory.
        x = F.max_pool2d(x.contiguous(memory_format=torch.channels_last), 3, stride=2, padding=1)
        return self.trunk(x)


class VideoFrontEnd(nn.Module):
    """Normalised video (B, C, T, H, W) -> (B, T, D). Frames where the mask (B, T) is True do not affect the others."""

    def __init__(self, in_channels: int, width: int, dim: int) -> None:
        super().__init__()
        self.resnet = ResNet(in_channels, width)
        self.proj = nn.Linear(8 * width, dim)

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return self.proj(self.resnet(_without_padding(video, padding_mask), padding_mask))

    def stem(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the maps of the first convolution: (B, width, T, H / 2, W / 2)."""
        return self.resnet.frontend3D[0](_without_padding(video, padding_mask))


def _without_padding(video: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Set padding to zeros: the stem convolves over time, and pads an unpadded clip with zeros, too."""
    return video if padding_mask is None else video.masked_fill(rearrange(padding_mask, "b t -> b 1 t 1 1"), 0)


class AudioFrontEnd(nn.Module):
    """Stacked filter banks (B, F, T) -> (B, T, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(AUDIO_FEATURES, dim)

    def forward(self, audio: Tensor) -> Tensor:
        return self.proj(rearrange(audio, "b f t -> b t f"))


class PositionalConv(nn.Module):
    """Grouped convolution over time with weight normalisation per tap: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, kernel: int = 128, groups: int = 16) -> None:
        super().__init__()
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(dim))
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=(4 / (kernel * dim)) ** 0.5)
        self.weight_g = nn.Parameter(self._length().detach())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_g * self.weight_v / self._length()
        out = F.conv1d(
            rearrange(x, "b t d -> b d t"), weight, self.bias, padding=weight.shape[-1] // 2, groups=self.groups
        )
        # An even kernel gives one step too many.
        return rearrange(out[..., : x.shape[1]], "b d t -> b t d")

    def _length(self) -> Tensor:
        return torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)


class Attention(nn.Module):
    """Multi-head self-attention to the steps where `attend` (B, 1, 1, T) is True; None means all steps."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        q, k, v = (
            rearrange(proj(x), "b t (h d) -> b h t d", h=self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
        return self.out_proj(rearrange(out, "b h t d -> b t (h d)"))


class EncoderLayer(nn.Module):
    """Transformer layer, normalised before (`layer_norm_first`) or after attention and MLP."""

    def __init__(self, dim: int, heads: int, ffn_dim: int, dropout: float, layer_norm_first: bool) -> None:
        super().__init__()
        self.layer_norm_first = layer_norm_first
        self.self_attn = Attention(dim, heads, dropout)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        if self.layer_norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), attend))
            return x + self.dropout(self._mlp(self.final_layer_norm(x)))
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, attend)))
        return self.final_layer_norm(x + self.dropout(self._mlp(x)))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class FusionEncoder(nn.Module):
    """Convolutional positions and transformer layers: (B, T, D) -> (B, T, D). Padded steps affect no other step."""

    def __init__(
        self, *, layers: int, dim: int, heads: int, ffn_dim: int, dropout: float, layer_norm_first: bool
    ) -> None:
        super().__init__()
        self.layer_norm_first = layer_norm_first
        self.pos_conv = nn.Sequential(PositionalConv(dim), nn.GELU())
        self.layers = Stack(EncoderLayer(dim, heads, ffn_dim, dropout, layer_norm_first) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.apply(_init_linear)

    def forward(self, x: Tensor, padding_mask: Tensor | None, layer: int | None = None) -> Tensor:
        """`layer` is the layer whose output is returned, from 1; None for the end of the encoder, after its norm."""
        attend = None
        if padding_mask is not None:
            attend = rearrange(~padding_mask, "b t -> b 1 1 t")
            x = x.masked_fill(padding_mask[..., None], 0)
        x = x + self.pos_conv(x)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        layers = self.layers if layer is None else self.layers[:layer]
        x = layers(self.dropout(x), attend)
        return self.layer_norm(x) if self.layer_norm_first and layer is None else x


class AVHubert(nn.Module):
    """AV-HuBERT's encoder. The defaults are the released base model; large has 24 layers, 1024, 16 and 4096.

    `in_channels` is 1 for grey frames, as released, and 3 for colour. `width` is the ResNet's first number of channels.
    """

    def __init__(
        self,
        *,
        encoder_layers: int = 12,
        dim: int = 768,
        heads: int = 12,
        ffn_dim: int = 3072,
        in_channels: int = 1,
        width: int = 64,
        dropout: float = 0.1,
        layer_norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.feature_extractor_audio = AudioFrontEnd(dim)
        self.feature_extractor_video = VideoFrontEnd(in_channels, width, dim)
        self.layer_norm = nn.LayerNorm(2 * dim)
        self.post_extract_proj = nn.Linear(2 * dim, dim)
        self.encoder = FusionEncoder(
            layers=encoder_layers,
            dim=dim,
            heads=heads,
            ffn_dim=ffn_dim,
            dropout=dropout,
            layer_norm_first=layer_norm_first,
        )

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        padding_mask: Tensor | None = None,
        *,
        layer: int | None = None,
    ) -> Tensor:
        """video (B, C, T, H, W), audio (B, F, T), padding_mask (B, T), True = padding -> (B, T, D).

        A modality that is None has features of zeros in its half. The result is the output of transformer layer
        `layer`, from 1; None stands for the end of the encoder.
        """
        audio_features = None if audio is None else self.feature_extractor_audio(audio)
        video_features = None if video is None else self.feature_extractor_video(video, padding_mask)
        halves = [audio_features, video_features]
        present = next(half for half in halves if half is not None)
        both = torch.cat([torch.zeros_like(present) if half is None else half for half in halves], dim=-1)
        return self.encoder(self.post_extract_proj(self.layer_norm(both)), padding_mask, layer)


def from_fairseq(checkpoint: Mapping[str, Any], *, in_channels: int = 1) -> dict[str, Tensor]:
    """Return the weights of an `AVHubert` from a released checkpoint: its state dict, or the file's whole content.

    Drops by name the weights that only pre-training uses: mask embedding, cluster embeddings and their projection. Of a
    checkpoint that was fine-tuned for recognition, which holds the encoder within a larger model, drops the decoder.
    For colour (`in_channels` 3) the weights of a grey stem are divided evenly among the channels, so that three equal
    channels give the same response as one.
    """
    weights: Mapping[str, Tensor] = checkpoint.get("model", checkpoint)
    if any(key.startswith(_FINE_TUNED) for key in weights):
        weights = {key.removeprefix(_FINE_TUNED): x for key, x in weights.items() if not key.startswith(_DECODER)}
    ours = {key: value for key, value in weights.items() if not key.startswith(_PRETRAINING)}
    stem = "feature_extractor_video.resnet.frontend3D.0.weight"
    if stem in ours and ours[stem].shape[1] == 1:
        ours[stem] = ours[stem].repeat(1, in_channels, 1, 1, 1) / in_channels
    return ours


def _stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(channels_in, channels, stride), BasicBlock(channels, channels, 1))


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
