"""Visual representations: width, time, independence of the other clips of a batch, and that nothing of them learns."""

import pytest
import torch

from avdfd.models.avhubert import AVHubert
from avdfd.models.avhubert_features import FrozenAVHubert
from avdfd.models.representations import FaceTokens, MouthShape
from OpenAVFF.visual_encoder import VisualEncoder

FRAMES = 77


@pytest.fixture
def lips():
    torch.manual_seed(0)
    return FrozenAVHubert(AVHubert(encoder_layers=1, dim=16, heads=2, ffn_dim=16, width=4), ())


def face(depth: int) -> FaceTokens:
    torch.manual_seed(0)
    return FaceTokens(VisualEncoder(image_size=32, dim=16, depth=depth, heads=2), normalisation="unit")


def faces(count: int = FRAMES) -> torch.Tensor:
    return torch.randint(256, (2, 3, count, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def mouths() -> torch.Tensor:
    return torch.randint(256, (2, 20, 96, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def moved_frames(before: torch.Tensor, after: torch.Tensor) -> list[list[int]]:
    """Return, of each clip, the frames whose features differ."""
    return [one.nonzero().flatten().tolist() for one in (before != after).any(dim=2)]


def test_mouth_shape_is_given():
    shape = torch.randn(2, FRAMES, 120)
    assert torch.equal(MouthShape().features(shape), shape)
    assert MouthShape.width == 120


def test_lips_are_the_normalised_middle_of_the_mouth_crops(lips):
    middle = (mouths()[:, None, :, 4:92, 4:92].float() / 255 - 0.421) / 0.165
    found = lips.features(mouths())
    with torch.inference_mode():
        torch.testing.assert_close(found, lips.avhubert(middle, None))
    torch.testing.assert_close(found[1:], lips.features(mouths()[1:]))
    assert found.shape == (2, 20, lips.width)
    border = mouths()
    border[:, :, :4] = 0
    assert torch.equal(lips.features(border), found)


def test_a_frame_of_the_lips_changes_its_own_and_two_on_either_side(lips):
    """Without positions and attention, by which a token depends on all frames; the stem takes five frames."""
    encoder = lips.avhubert.encoder
    for weight in (encoder.pos_conv[0].weight_g, *encoder.layers[0].self_attn.out_proj.parameters()):
        weight.data.zero_()
    before = lips.features(mouths())
    for number, around in {0: [0, 1, 2], 9: [7, 8, 9, 10, 11], 19: [17, 18, 19]}.items():
        changed = mouths()
        changed[0, number] = 255 - changed[0, number]
        assert moved_frames(before, lips.features(changed)) == [around, []]


def test_a_frame_of_the_face_changes_its_own_pair_alone():
    """Without attention, as its layers mix the moments of a span. Pairs of the last one begin with frame 61."""
    model = face(depth=0)
    before = model.features(faces())
    for number, pair in {0: [0, 1], 17: [16, 17], 63: [62, 63, 64], 76: [75, 76]}.items():
        changed = faces()
        changed[0, :, number] = 255 - changed[0, :, number]
        assert moved_frames(before, model.features(changed)) == [pair, []]
    assert before.shape == (2, FRAMES, model.width)


@pytest.mark.parametrize("count", [16, 32, 77])
def test_spans_are_those_of_the_encoder(count):
    model, video = face(depth=1), faces(count)
    found = model.features(video)
    with torch.inference_mode():
        tokens, _ = model.backbone(video[:, :, -16:].float() / 255)
    torch.testing.assert_close(found[:, -1], tokens.unflatten(1, (8, 4))[:, -1].mean(dim=1))
    torch.testing.assert_close(found[1:], model.features(video[1:]))
    assert found.shape == (2, count, 16)


def test_encoders_stay_frozen(lips):
    for model, mouth in ((face(depth=1), faces(20)), (lips, mouths())):
        model.train()
        assert not any(p.requires_grad for p in model.parameters())
        assert not any(module.training for module in list(model.modules())[1:])
        assert torch.equal(model.features(mouth), model.features(mouth))
