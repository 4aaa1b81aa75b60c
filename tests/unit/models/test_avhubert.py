"""The encoder's layers against PyTorch's, the released keys, and padding that affects no output."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from avdfd.core.errors import UserError
from avdfd.models.avhubert import AVHubert, EncoderLayer, FusionEncoder, PositionalConv, from_fairseq
from avdfd.training.state_dicts import fill
from tests.helpers.avhubert import SIZES, drawn_weights, released_layout


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = AVHubert(**SIZES)
    model(
        torch.randn(2, 1, 6, 32, 32), torch.randn(2, 104, 6)
    )  # changes the running statistics from their initial values
    return model.eval()


@pytest.mark.parametrize(
    "sizes",
    [{}, {"encoder_layers": 24, "dim": 1024, "heads": 16, "ffn_dim": 4096}],
    ids=["base", "large"],
)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_released_keys_and_shapes(sizes, in_channels):
    with torch.device("meta"):
        own = {
            key: tuple(value.shape) for key, value in AVHubert(in_channels=in_channels, **sizes).state_dict().items()
        }
        layout = released_layout(**{k: v for k, v in sizes.items() if k != "heads"})
        released = {key: torch.empty(shape) for key, shape in layout.items()}
    mapped = from_fairseq({"model": released, "cfg": None}, in_channels=in_channels)
    assert {key: tuple(value.shape) for key, value in mapped.items()} == own


def test_file_and_state_dict_load_the_same_weights():
    weights = drawn_weights()
    bare = from_fairseq(weights)
    whole = from_fairseq({"model": weights, "optimizer_history": []})
    assert whole.keys() == bare.keys() == AVHubert(**SIZES).state_dict().keys()
    assert weights.keys() - bare.keys() == {"mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias"}
    assert all(torch.equal(whole[key], weights[key]) for key in whole)


def test_missing_and_unexpected_keys_are_refused():
    weights = drawn_weights()
    short = {k: v for k, v in weights.items() if k != "encoder.layers.1.fc2.bias"}
    with pytest.raises(UserError, match="lacks 1 of .* keys, e.g. 'encoder.layers.1.fc2.bias'"):
        fill(AVHubert(**SIZES), from_fairseq(short), "avhubert")
    with pytest.raises(UserError, match="unexpected 1 of .* keys, e.g. 'decoder.embed_out'"):
        fill(AVHubert(**SIZES), from_fairseq({**weights, "decoder.embed_out": torch.zeros(1)}), "avhubert")


def test_a_grey_frame_gives_the_same_response_in_three_channels():
    weights = drawn_weights()
    grey, coloured = AVHubert(**SIZES), AVHubert(**SIZES, in_channels=3)
    grey.load_state_dict(from_fairseq(weights))
    coloured.load_state_dict(from_fairseq(weights, in_channels=3))
    video = torch.randn(1, 1, 6, 32, 32)
    with torch.no_grad():
        expected = grey.eval().feature_extractor_video.resnet.frontend3D(video)
        given = coloured.eval().feature_extractor_video.resnet.frontend3D(video.expand(-1, 3, -1, -1, -1))
    assert expected.std() > 0.1
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_layer_equals_that_of_torch(first):
    torch.manual_seed(0)
    ours = EncoderLayer(32, 4, 64, 0.1, layer_norm_first=first).eval()
    theirs = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=first).eval()
    weights = {key: 0.2 * torch.randn_like(value) for key, value in ours.state_dict().items()}
    ours.load_state_dict(weights)
    for ours_name, their_name in (
        ("self_attn.out_proj", "self_attn.out_proj"),
        ("fc1", "linear1"),
        ("fc2", "linear2"),
        ("self_attn_layer_norm", "norm1"),
        ("final_layer_norm", "norm2"),
    ):
        theirs.get_submodule(their_name).load_state_dict(ours.get_submodule(ours_name).state_dict())
    with torch.no_grad():
        stacked = [torch.cat([weights[f"self_attn.{n}_proj.{kind}"] for n in "qkv"]) for kind in ("weight", "bias")]
        theirs.self_attn.in_proj_weight.copy_(stacked[0])
        theirs.self_attn.in_proj_bias.copy_(stacked[1])
    x = torch.randn(2, 7, 32)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    # With gradients on, PyTorch takes its ordinary path; the fast one drops padded steps.
    expected = theirs(x, src_key_padding_mask=padding)
    torch.testing.assert_close(ours(x, ~padding[:, None, None]), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x, None), theirs(x), rtol=1e-4, atol=1e-5)


def test_positions_equal_a_weight_normalised_convolution():
    torch.manual_seed(0)
    ours = PositionalConv(32)
    assert ours.weight_v.std().item() == pytest.approx((4 / (128 * 32)) ** 0.5, rel=0.05)
    torch.testing.assert_close(ours.weight_g, ours.weight_v.norm(dim=(0, 1), keepdim=True))
    theirs = weight_norm(nn.Conv1d(32, 32, 128, padding=64, groups=16), dim=2)
    ours.weight_g.data.mul_(1.5)
    theirs.load_state_dict({"bias": ours.bias, "weight_g": ours.weight_g, "weight_v": ours.weight_v})
    x = torch.randn(2, 20, 32)
    expected = theirs(x.transpose(1, 2))[..., :20].transpose(1, 2)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


def test_norm_comes_before_or_after_the_layers():
    x = torch.randn(1, 5, 32)
    sizes = {"layers": 1, "dim": 32, "heads": 4, "ffn_dim": 64, "dropout": 0.0}
    for first in (True, False):
        encoder = FusionEncoder(**sizes, layer_norm_first=first)
        positioned = x + encoder.pos_conv(x)
        layer = encoder.layers[0]
        chain = (layer, encoder.layer_norm) if first else (encoder.layer_norm, layer)
        expected = positioned
        for module in chain:
            expected = module(expected, None) if module is layer else module(expected)
        torch.testing.assert_close(encoder(x, None), expected)


def test_padding_affects_no_output(small):
    torch.manual_seed(1)
    video, audio = torch.randn(2, 1, 12, 32, 32), torch.randn(2, 104, 12)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    with torch.no_grad():
        together = small(video, audio, padding)
        alone = small(video[:1, :, :7], audio[:1, :, :7])
        unmasked = small(video, audio)
    torch.testing.assert_close(together[:1, :7], alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1], unmasked[1], rtol=1e-5, atol=1e-5)
    assert (unmasked[0, :7] - alone[0]).abs().max() > 1e-2
