"""In faithful mode, both stages compute what the released OpenAVFF does."""

import json

import numpy as np
import pytest
import torch

from OpenAVFF.finetuning import VideoCAVMAEFT
from OpenAVFF.pretraining import VideoCAVMAE
from tests import reference

TOLERANCE = 1e-4


def close(values, expected):
    assert values.shape == expected.shape
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def expected():
    return reference.values("openavff")


@pytest.fixture(scope="module")
def clips():
    """Audio and video of two samples."""
    return reference.tensor("openavff.audio.0", 2, 1024, 128), reference.tensor("openavff.video.0", 2, 3, 16, 224, 224)


def filled(module):
    """The module in eval mode with the reference's weights, which have fewer layers than the released ones."""
    weights = reference.state_dict("openavff", type(module).__name__)
    module.load_state_dict({key: weights[key] for key in module.state_dict()})
    return module.eval()


@torch.inference_mode()
def test_pretraining(expected, clips):
    audio, video = clips
    model = VideoCAVMAE(encoder_depth=2, decoder_depth=1, faithful=True)
    close(model.audio_encoder.pos_embed[0, ::37, ::29], expected["audio_pos_embed"])
    close(model.visual_encoder.pos_embedding.emb[0, ::97, ::29], expected["video_pos_embed"])
    close(model.audio_decoder.decoder_pos_embed[0, ::37, ::29], expected["audio_decoder_pos_embed"])
    embeddings = {}
    filled(model)
    model.audio_encoder.register_forward_hook(lambda *call: embeddings.update(audio=call[-1]))
    model.visual_encoder.register_forward_hook(lambda *call: embeddings.update(video=call[-1][0]))
    out = model(audio, video, mask_indices=expected["mask_indices"])
    for name in ("total_loss", "nce_loss", "c_acc", "rec_loss_a", "rec_loss_v"):
        close(getattr(out, name), expected[name])
    close(embeddings["audio"][:, ::64, ::96], expected["audio_emb"])
    close(embeddings["video"][:, ::196, ::96], expected["video_emb"])
    close(out.audio_recon[:, :, ::16, ::64], expected["audio_recon"])
    close(out.video_recon[:, :, ::5, ::32, ::32], expected["video_recon"])


@torch.inference_mode()
def test_finetuning(expected, clips):
    audio, video = clips
    model = filled(VideoCAVMAEFT(encoder_depth=2, faithful=True))
    alone = model(audio[:1], video[:1]).logits
    fused = {}
    model.a2v.register_forward_hook(lambda *call: fused.update(a2v=call[-1]))
    model.v2a.register_forward_hook(lambda *call: fused.update(v2a=call[-1]))
    logits = model(audio, video).logits
    close(logits, expected["ft_logits"])
    close(fused["a2v"].unflatten(1, (8, -1))[:, :, ::49, ::96], expected["ft_a2v"])
    close(fused["v2a"].unflatten(1, (8, -1))[:, :, ::16, ::96], expected["ft_v2a"])
    close(alone, expected["ft_logits_first_alone"])
    # As released, the other samples of the batch change the score.
    assert (alone - logits[:1]).abs().max() > 5e-4


@pytest.mark.parametrize("model", [VideoCAVMAE, VideoCAVMAEFT])
def test_keys_and_shapes_at_full_size(model):
    released = json.loads((reference.FOLDER / "openavff_state_dicts.json").read_text())[model.__name__]
    with torch.device("meta"):
        own = model(faithful=True).state_dict()
    assert {key: [list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in own.items()} == released


def test_keys_of_the_default_mode():
    """Only two layers of the classifier have another input width."""
    with torch.device("meta"):
        released, own = VideoCAVMAE(faithful=True).state_dict(), VideoCAVMAE().state_dict()
        classifier, own_classifier = VideoCAVMAEFT(faithful=True).state_dict(), VideoCAVMAEFT().state_dict()
    assert {k: t.shape for k, t in own.items()} == {k: t.shape for k, t in released.items()}
    assert own_classifier.keys() == classifier.keys()
    other = {k: tuple(t.shape) for k, t in own_classifier.items() if t.shape != classifier[k].shape}
    assert other == {"mlp_vision.weight": (1024, 1536), "mlp_audio.weight": (1024, 1536)}
