"""AVFF's first stage: masking, targets, contrast."""

import pytest
import torch
from einops import rearrange

from OpenAVFF.pretraining import VideoCAVMAE
from OpenAVFF.reconstruction import contrastive_loss, normalise_patches
from OpenAVFF.visual_encoder import VisualEncoder
from tests.helpers.small_avff import DECODER, SIZES, clips


def build(**choices):
    torch.manual_seed(0)
    return VideoCAVMAE(**SIZES, **DECODER, **choices)


@pytest.fixture(scope="module")
def model():
    return build().eval()


@pytest.mark.parametrize("faithful", [False, True])
def test_every_parameter_gets_a_gradient(faithful):
    model = build(faithful=faithful, visual_qkv_bias=not faithful)
    audio, video = clips(2)
    out = model(audio, video, rec_weight=2.0, nce_weight=0.5)
    assert out.audio_recon.shape == (2, 1, 128, 256)
    assert out.video_recon.shape == video.shape
    torch.testing.assert_close(out.total_loss, 2 * (out.rec_loss_a + out.rec_loss_v) + 0.5 * out.nce_loss)
    out.total_loss.backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad.abs().sum() > 0 for name, p in model.named_parameters() if name in trained)
    unused = {"audio_decoder.decoder_modality", "audio_decoder.decoder_pos_embed"}
    assert {name for name, _ in model.named_parameters()} - trained == (unused if faithful else set())


def test_smaller_sizes():
    """Token counts follow from the sizes: 7x7 per slot of 112x112 video, 8x4 per slot of 512 frames of audio."""
    with torch.device("meta"):
        model = VideoCAVMAE(image_size=112, audio_length=512)
    assert model.a2v.mlp.linear.weight.shape == (4 * 7 * 7, 4 * 8 * 4)
    assert model.v2a.mlp.linear.weight.shape == (4 * 8 * 4, 4 * 7 * 7)
    assert model.visual_decoder.pos_embedding.emb.shape == (1, 8 * 7 * 7, 384)


@pytest.mark.parametrize("sizes", [{"frames": 6}, {"audio_length": 16 * 15}])
def test_slots_that_do_not_fit(sizes):
    with pytest.raises(ValueError, match="time slots: must be even and divide"):
        VideoCAVMAE(**{**SIZES, **sizes}, **DECODER)


def test_marlin_weights_fit():
    marlin = VisualEncoder(frames=8, image_size=32, dim=24, depth=1, heads=2, qkv_bias=True)
    build(visual_qkv_bias=True).visual_encoder.load_state_dict(marlin.state_dict())


def test_random_slots_are_complementary_halves(model):
    drawn = set()
    torch.manual_seed(0)
    for _ in range(50):
        with_video, with_audio = (slots.tolist() for slots in model.draw_slots(None, torch.device("cpu")))
        assert len(with_video) == len(with_audio) == 2
        assert sorted(with_video + with_audio) == [0, 1, 2, 3]
        assert with_video == sorted(with_video)
        drawn.add(tuple(with_video))
    assert len(drawn) == 6  # all halves of four slots
    torch.manual_seed(0)
    first = model(*clips(1))
    torch.manual_seed(0)
    assert torch.equal(model(*clips(1)).total_loss, first.total_loss)


def test_given_slots_in_any_order(model):
    audio, video = clips(1)
    out = model(audio, video, mask_indices=torch.tensor([3, 1]))
    assert torch.equal(out.total_loss, model(audio, video, mask_indices=(1, 3)).total_loss)
    assert not torch.equal(out.total_loss, model(audio, video, mask_indices=(0, 2)).total_loss)


@pytest.mark.parametrize("slots", [[0], [0, 0], [0, 4], [0, 1, 2], [-1, 1]])
def test_wrong_slots(model, slots):
    with pytest.raises(ValueError, match="mask_indices must be 2 of the slots 0-3"):
        model(*clips(1), mask_indices=slots)


@pytest.mark.parametrize(
    ("faithful", "audio_slots"),
    [(False, "b (band s w) d -> b s (band w) d"), (True, "b (s band w) d -> b s (band w) d")],
)
@torch.inference_mode()
def test_visible_tokens_stay_and_hidden_ones_are_predicted(faithful, audio_slots):
    model = build(faithful=faithful).eval()
    with_video, with_audio = [0, 2], [1, 3]
    audio, video = torch.randn(2, 4, 32, 24), torch.randn(2, 4, 4, 24)  # by slot

    def fuse(audio, video):
        stored, cut = audio_slots.split(" -> ")
        band = 2 if faithful else 8
        audio, video = rearrange(audio, f"{cut} -> {stored}", band=band), video.flatten(1, 2)
        audio, video = model.fuse(audio, video, torch.tensor(with_video), torch.tensor(with_audio))
        return rearrange(audio, audio_slots, s=4, band=band), video.unflatten(1, (4, -1))

    fused_audio, fused_video = fuse(audio, video)
    assert torch.equal(fused_audio[:, with_audio], audio[:, with_audio])
    assert torch.equal(fused_video[:, with_video], video[:, with_video])

    # Hidden slots do not matter.
    audio[:, with_video], video[:, with_audio] = 0, 0
    again_audio, again_video = fuse(audio, video)
    assert torch.equal(again_audio, fused_audio)
    assert torch.equal(again_video, fused_video)

    # Visible video changes the predicted audio and nothing else.
    video[:, with_video] = torch.randn(2, 2, 4, 24)
    new_audio, new_video = fuse(audio, video)
    assert (new_audio[:, with_video] - fused_audio[:, with_video]).abs().amax(dim=-1).min() > 0.01
    assert torch.equal(new_audio[:, with_audio], fused_audio[:, with_audio])
    assert torch.equal(new_video[:, with_audio], fused_video[:, with_audio])


def test_slots_of_audio_and_video_span_the_same_time():
    """The hidden video of a slot is predicted from the visible audio of the same times, in all bands."""
    model = build().eval()
    tokens = torch.arange(16).repeat(8)[None, :, None].expand(1, -1, 24).float()  # each token holds its column
    audio_tokens = []
    model.a2v.register_forward_hook(lambda _, args, __: audio_tokens.append(args[0]))
    with torch.no_grad():
        model.fuse(tokens, torch.zeros(1, 16, 24), torch.tensor([0, 3]), torch.tensor([1, 2]))
    assert sorted(audio_tokens[0][0, :, 0].tolist()) == sorted(8 * list(range(4, 12)))


def test_targets_are_normalised_per_patch(model):
    audio, video = clips(2)
    audio_target, video_target = model.targets(3 + 2 * audio, 3 + 2 * video)
    patches = rearrange(audio_target, "b 1 (h p) (w q) -> b h w (p q)", p=16, q=16)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 8, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 8, 16), atol=1e-4, rtol=0)
    patch = (audio[1, 32:48, 16:32].T - audio[1, 32:48, 16:32].mean()) / audio[1, 32:48, 16:32].std()
    torch.testing.assert_close(audio_target[1, 0, 16:32, 32:48], patch, atol=1e-4, rtol=0)
    tubelet = video[1, 2, 4:6, 16:32, :16]
    expected = (tubelet - tubelet.mean()) / tubelet.std()
    torch.testing.assert_close(video_target[1, 2, 4:6, 16:32, :16], expected, atol=1e-4, rtol=0)
    assert torch.isfinite(normalise_patches(torch.ones(1, 3, 2, 16, 16), tubelet=2, patch=16)).all()


def test_released_targets_are_normalised_along_the_width():
    audio, video = clips(2)
    audio_target, video_target = build(faithful=True).targets(audio, video)
    row = (audio[0, :, 5] - audio[0, :, 5].mean()) / audio[0, :, 5].std()
    torch.testing.assert_close(audio_target[0, 0, 5], row, atol=1e-4, rtol=0)
    torch.testing.assert_close(video_target.mean(-1), torch.zeros(2, 3, 8, 32), atol=1e-5, rtol=0)


def test_contrast_equals_the_explicit_sum():
    torch.manual_seed(0)
    audio, video = torch.randn(4, 6), torch.randn(4, 6)
    loss, accuracy = contrastive_loss(audio, video)
    expected, hits = 0.0, 0
    for i in range(4):
        cosine = torch.cosine_similarity
        to_video = torch.stack([cosine(audio[i], v, dim=0) for v in video]) / 0.05
        to_audio = torch.stack([cosine(a, video[i], dim=0) for a in audio]) / 0.05
        expected -= (to_video.log_softmax(0)[i] + to_audio.log_softmax(0)[i]) / 8
        hits += (to_video.argmax() == i).int() + (to_audio.argmax() == i).int()
    torch.testing.assert_close(loss, expected)
    assert accuracy == hits / 8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(contrastive_loss(audio, video)[0], loss)


@pytest.mark.parametrize("faithful", [False, True])
@torch.inference_mode()
def test_reconstructions_and_the_batch(faithful):
    """By default a reconstruction does not depend on the batch; as released it does."""
    model = build(faithful=faithful).eval()
    audio, video = clips(3)
    together = model(audio, video, mask_indices=[0, 3])
    alone = model(audio[1:2], video[1:2], mask_indices=[0, 3])
    for name in ("audio_recon", "video_recon"):
        difference = (getattr(together, name)[1] - getattr(alone, name)[0]).abs().max()
        assert difference > 1e-3 if faithful else difference < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("faithful", [False, True])
def test_restored_targets_are_the_clip(faithful):
    """A perfect decoder's output, given back the statistics of the patches, is what the model was given."""
    model, (audio, video) = build(faithful=faithful), clips(2)
    image, frames = model.restore(*model.targets(audio, video), audio, video)
    torch.testing.assert_close(image[:, 0].mT, audio, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(frames, video, atol=1e-4, rtol=1e-4)
    flat = model.restore(torch.zeros(2, 1, 128, 256), torch.zeros_like(video), audio, video)[1]
    block = video[0, 1, 2, 5] if faithful else video[0, 1, 2:4, :16, :16]
    torch.testing.assert_close(flat[0, 1, 2, 5, 3], block.mean())


@torch.inference_mode()
@pytest.mark.parametrize("faithful", [False, True])
def test_visible_parts_are_those_whose_tokens_are_kept(faithful):
    model, with_video = build(faithful=faithful), [0, 3]
    audio, video = (torch.randn(1, encoder.tokens, 24) for encoder in (model.audio_encoder, model.visual_encoder))
    kept = model.fuse(audio, video, *model.draw_slots(with_video, audio.device))
    audio_kept, video_kept = ((x == y).all(dim=-1)[0] for x, y in zip(kept, (audio, video), strict=True))
    image, frames = model.visible(with_video)
    assert torch.equal(image[::16, ::16].flatten(), audio_kept)
    assert torch.equal(frames, video_kept.view(4, -1).all(dim=1).repeat_interleave(2))
    assert frames.tolist() == [True, True, False, False, False, False, True, True]
    assert image.float().mean() == 0.5
    columns = image.all(dim=0) | ~image.any(dim=0)
    assert bool(columns.all()) is not faithful, "whole moments are hidden; as released, frequency bands"
