"""VFD's networks: released numbers and keys, and embeddings that do not depend on the batch."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avdfd.core.errors import UserError
from avdfd.models.vfd import VoiceFace
from avdfd.models.vfd2022 import Attention, face_network, voice_network
from avdfd.models.vfd2023 import ClipAttention, PatchTransformer
from avdfd.models.vfd_losses import triplet
from tests import reference

SMALL = {
    2022: {"image_size": 64, "mel_size": (192, 160), "dim": 24, "depth": 2, "heads": 3, "mlp_dim": 16, "width": 0.1},
    2023: {"image_size": 64, "mel_size": (64, 96), "dim": 24, "depth": 2, "heads": 3, "out_dim": 16},
}
BUILD = {
    "CViT": face_network,
    "CAiT": voice_network,
    "VisualTransformer": lambda: PatchTransformer((3, 224, 224)),
    "AuditoryTransformer": lambda: PatchTransformer((1, 128, 256)),
}


def close(tensor, expected):
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-4, atol=1e-4)


def small(year, **changes):
    """A small model in eval mode whose embeddings differ, which they hardly do with the initial weights."""
    torch.manual_seed(0)
    model = VoiceFace(year=year, **{**SMALL[year], **changes}).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=(parameter[0].numel()) ** -0.5)
    return model


def fill(module):
    """A module of the meta device, with the weights of the reference values."""
    drawn = {
        key: torch.from_numpy(reference._weight(key, tuple(value.shape)))
        if value.is_floating_point()
        else torch.zeros(value.shape, dtype=value.dtype)
        for key, value in module.state_dict().items()
    }
    module.load_state_dict(drawn, assign=True)
    return module.eval()


def pairs(year, count=4):
    generator = torch.Generator().manual_seed(1)
    shapes = (1, *SMALL[year]["mel_size"]), (3, 64, 64)
    return [torch.randn(count, *shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("name", BUILD)
def test_keys_and_shapes_are_the_released_ones(name):
    with torch.device("meta"):
        own = BUILD[name]().state_dict()
    released = json.loads((reference.FOLDER / "vfd_state_dicts.json").read_text())[name]
    assert {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in own.items()} == released


@pytest.fixture(scope="module")
def released_2022():
    """Embeddings of the reference inputs by the full networks, in one batch and of the second sample alone."""
    inputs = {
        "cvit": (face_network, 0.5 * reference.tensor("vfd.img.0", 3, 3, 224, 224)),
        "cait": (voice_network, reference.tensor("vfd.mel.0", 3, 1, 512, 301)),
    }
    out = {}
    for name, (network, x) in inputs.items():
        with torch.device("meta"):
            module = network(faithful=True)
        fill(module)
        with torch.no_grad():
            out[name], out[f"{name}_second_alone"] = module(x), module(x[1:2])
    return out


@pytest.mark.parametrize("name", ["cvit", "cait", "cvit_second_alone", "cait_second_alone"])
def test_faithful_2022_equals_the_released_networks(released_2022, name):
    close(released_2022[name][:, ::64], reference.values("vfd")[name])


def test_distance_and_triplet_loss_of_the_released_networks(released_2022):
    expected, voice, face = reference.values("vfd"), released_2022["cait"], released_2022["cvit"]
    close(small(2022).distance(voice, face), expected["distance"])
    close(triplet(voice[:1], face[:1], face[1:2], margin=100.0), expected["triplet"])


@pytest.mark.parametrize(
    ("name", "source", "shape"),
    [("mvf_visual", "mvf.img.0", (3, 224, 224)), ("mvf_auditory", "mvf.mel.0", (1, 128, 256))],
)
def test_2023_equals_the_released_networks(name, source, shape):
    with torch.device("meta"):
        module = PatchTransformer(shape, layers=2)
    with torch.no_grad():
        embedding = fill(module)(reference.tensor(source, 3, *shape))
    close(embedding[:, ::32], reference.values("vfd")[name])


@pytest.mark.parametrize("year", [2022, 2023])
def test_an_embedding_does_not_depend_on_the_batch(year):
    model = small(year)
    voice, face = pairs(year)
    with torch.no_grad():
        together = model(voice, face)
        order = torch.tensor([2, 0, 3, 1])
        shuffled = model(voice[order], face[order])
        alone = model(voice[1:2], face[1:2])
    for whole, mixed, single in zip(together, shuffled, alone, strict=True):
        assert (whole[0] - whole[1]).abs().max() > 1e-3
        torch.testing.assert_close(whole[order], mixed, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(whole[1:2], single, rtol=1e-5, atol=1e-5)


def test_a_faithful_embedding_depends_on_the_batch_as_released():
    model = small(2022, faithful=True)
    voice, face = pairs(2022)
    with torch.no_grad():
        together, alone = model(voice, face), model(voice[1:2], face[1:2])
    for whole, single in zip(together, alone, strict=True):
        assert (whole[1:2] - single).abs().max() > 1e-3


def test_own_statistics_equal_a_released_batch_of_one():
    """The voice network's convolutions treat every sample as the released ones treat a batch of one."""
    ours, released = small(2022), small(2022, faithful=True)
    released.load_state_dict(ours.state_dict())
    voice, _ = pairs(2022)
    with torch.no_grad():
        expected = torch.cat([released.voice.features(sample[None]) for sample in voice])
        torch.testing.assert_close(ours.voice.features(voice), expected, rtol=1e-4, atol=1e-5)


def test_faithful_refuses_more_samples_than_positions():
    model = small(2022, faithful=True)
    with pytest.raises(UserError, match=r"at most 32 samples per batch, not 33; lower batch_size"):
        model.face(torch.zeros(33, 3, 64, 64))
    assert small(2022).face(torch.zeros(33, 3, 64, 64)).shape == (33, 16)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("year", [2022, 2023])
def test_every_weight_learns(year, faithful):
    model = small(year, faithful=faithful).train()
    voice, face = model(*pairs(year))
    model.distance(voice, face).sum().backward()
    still = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before a norm has no effect: its gradient is zero up to rounding.
    assert not [k for k in still if not (".features." in k and k.endswith("bias"))]


def test_attention_2022_equals_explicit_softmax_scaled_by_the_width():
    torch.manual_seed(0)
    attention, x = Attention(24, 3), torch.randn(2, 5, 24)
    q, k, v = (t.view(2, 5, 3, 8).transpose(1, 2) for t in attention.to_qkv(x).split(24, dim=-1))
    mixed = (q @ k.transpose(-1, -2) / 24**0.5).softmax(-1) @ v
    torch.testing.assert_close(attention(x), attention.to_out(mixed.transpose(1, 2).reshape(2, 5, 24)))


def test_attention_2023_equals_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = ClipAttention(24, 3), torch.nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_patches_are_in_row_order():
    model = PatchTransformer((1, 64, 96), dim=24, layers=0, heads=3, out_dim=8)
    assert model.positional_embedding.shape == (1 + 2 * 3, 24)
    assert model(torch.randn(2, 1, 64, 97)).shape == (2, 8)


def test_distances_of_the_years():
    voice, face = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [2.0, 2.0]])
    torch.testing.assert_close(small(2022).distance(voice, face), torch.tensor([5.0, 2**0.5]), atol=1e-5, rtol=1e-5)
    expected = 1 - F.cosine_similarity(voice, face)
    torch.testing.assert_close(small(2023).distance(voice, face), expected)


def test_invalid_sizes_are_refused():
    with pytest.raises(UserError, match="image_size 31: VFD 2022 halves a face five times; use 32 or more"):
        face_network(image_size=31)
    with pytest.raises(UserError, match="an input of 31x64 has no patch of 32x32"):
        PatchTransformer((1, 31, 64))
    with pytest.raises(ValueError, match="year must be 2022 or 2023, not 2021"):
        VoiceFace(year=2021)


def test_smaller_faces_have_smaller_maps():
    module = face_network(image_size=112, width=0.25, dim=32, depth=1, heads=2, mlp_dim=8)
    assert module.features[0].out_channels == 8
    assert module.patch_to_embedding.in_features == 128 * 3 * 3
    assert module(torch.randn(2, 3, 112, 112)).shape == (2, 8)
