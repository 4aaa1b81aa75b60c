"""Visual representations: width, time, and independence of the other clips of a batch."""

import pytest
import torch

from avdfd.models.avhubert import AVHubert
from avdfd.models.representations import FaceTokens, LipFeatures, MouthShape
from avdfd.models.visual_encoder import VisualBranch

FRAMES = 77


@pytest.fixture(scope="module")
def lips():
    torch.manual_seed(0)
    return LipFeatures(AVHubert(encoder_layers=1, dim=16, heads=2, ffn_dim=16, width=4)).eval()


def face(depth: int) -> FaceTokens:
    torch.manual_seed(0)
    return FaceTokens(VisualBranch(8, image_size=32, dim=16, depth=depth, heads=2)).eval()


def faces(count: int = FRAMES) -> torch.Tensor:
    return torch.randint(256, (2, 3, count, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def mouths() -> torch.Tensor:
    return torch.randint(256, (2, 20, 96, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_mouth_shape_is_given():
    shape = torch.randn(2, FRAMES, 120)
    assert torch.equal(MouthShape()(None, shape), shape)
    assert MouthShape.width == 120


def test_lips_are_the_normalised_middle_of_the_mouth_crops(lips):
    middle = (mouths()[:, None, :, 4:92, 4:92].float() / 255 - 0.421) / 0.165
    with torch.inference_mode():
        found = lips(mouths(), None)
        torch.testing.assert_close(found, lips.avhubert(middle, None))
        torch.testing.assert_close(found[1:], lips(mouths()[1:], None))
    assert found.shape == (2, 20, lips.width)
    border = mouths()
    border[:, :, :4] = 0
    assert torch.equal(lips(border, None), lips(mouths(), None))


def test_a_frame_of_the_face_changes_its_own_pair_alone():
    """Without attention, as its layers mix the moments of a span. Pairs of the last one begin with frame 61."""
    model = face(depth=0)
    with torch.inference_mode():
        before = model(faces(), None)
        for number, pair in {0: [0, 1], 17: [16, 17], 63: [62, 63, 64], 76: [75, 76]}.items():
            changed = faces()
            changed[0, :, number] = 255 - changed[0, :, number]
            differs = (model(changed, None) != before).any(dim=2)
            assert differs[0].nonzero().flatten().tolist() == pair
            assert not differs[1].any()
    assert before.shape == (2, FRAMES, model.width)


@pytest.mark.parametrize("count", [16, 32, 77])
def test_spans_are_those_of_the_encoder(count):
    model, video = face(depth=1), faces(count)
    with torch.inference_mode():
        found = model(video, None)
        tokens, _ = model.branch.backbone(model.branch.normalise(video[:, :, -16:]))
        torch.testing.assert_close(found[:, -1], tokens.unflatten(1, (8, 4))[:, -1].mean(dim=1))
        torch.testing.assert_close(found[1:], model(video[1:], None))
    assert found.shape == (2, count, 16)


def test_gradients_reach_the_encoders(lips):
    for model, video in ((face(depth=1), faces(20)), (lips, mouths())):
        model(video, None).square().sum().backward()
        used = [p for name, p in model.named_parameters() if "proj." not in name or "post" in name]
        assert sum(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in used) > len(used) / 2
