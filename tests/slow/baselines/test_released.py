"""Released checkpoints compute the released numbers."""

import numpy as np
import pytest
import torch

from avdfd.baselines import released
from avdfd.config import VisualModelConfig
from avdfd.core.errors import UserError
from avdfd.training.visual_weights import load_visual_encoder
from OpenAVFF.visual_encoder import VisualEncoder
from tests import reference

TOLERANCE = 1e-4


def close(tensor, expected):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def pretrain_weights():
    return reference.state_dict("avdfd", "AudioPretrainNet")


def test_stage1_equals_the_released_network(pretrain_weights):
    expected = reference.values("avdfd")
    with torch.no_grad():
        out = released.load("avdfd-pretrain", pretrain_weights)(reference.tensor("avdfd.mel.0", 4, 128, 768))
    close(out.feat[:, ::16], expected["pre_feat"])
    close(out.z, expected["pre_z"])
    close(out.logit, expected["pre_logit"])
    close(out.tokens[:, :, ::32], expected["pre_tok"])


def test_stage2_equals_the_released_network():
    expected = reference.values("avdfd")
    module = released.load("avdfd-detector", reference.state_dict("avdfd", "AVDetector"), visual_depth=2)
    mel, clip = reference.tensor("avdfd.mel.0", 4, 128, 768), reference.tensor("avdfd.clip.0", 4, 16, 3, 224, 224)
    with torch.no_grad():
        out = module(mel=mel, clip=clip)
        encoded = module.detector.encode(mel, clip.transpose(1, 2))
        tokens, anchor = (module.detector.visual_encoder.proj(x) for x in (encoded.tokens, encoded.pooled))
        predicted = module.detector.predictor(encoded.audio_tokens, anchor, tokens.shape[1])
    assert not module.training
    close(out.logit_audio, expected["det_logit_audio"])
    close(out.logit_final, expected["det_logit_final"])
    close(out.logit_a2v, expected["det_logit_a2v"])
    close(out.mismatch_mse, expected["det_mismatch"])
    close(out.w_audio, expected["det_w_audio"])
    close(tokens[:, ::196, ::64], expected["det_v_seq"])
    close(anchor[:, ::64], expected["det_g_vis"])
    close(predicted[:, ::196, ::64], expected["det_pred"])


def test_keys_that_do_not_fit_are_named(pretrain_weights):
    short = {k: v for k, v in pretrain_weights.items() if k != "proj.0.bias"}
    with pytest.raises(UserError, match=r"lacks 1 of 60 keys, e.g. 'projection.0.bias'"):
        released.load("avdfd-pretrain", short)
    with pytest.raises(UserError, match="has unexpected 1 of 60 keys, e.g. 'stray'"):
        released.load("avdfd-pretrain", {**pretrain_weights, "stray": torch.zeros(1)})
    with pytest.raises(UserError, match="other shapes for 1 of 60 keys"):
        released.load("avdfd-pretrain", {**pretrain_weights, "proto_real": torch.zeros(255)})


def test_unknown_system_and_sizes(pretrain_weights):
    with pytest.raises(UserError, match="unknown released system 'avdfd'"):
        released.load("avdfd", pretrain_weights)
    with pytest.raises(UserError, match="unknown sizes depth"):
        released.load("avdfd-pretrain", pretrain_weights, depth=3)


@pytest.mark.parametrize(("init", "prefix"), [("marlin", "encoder."), ("openavff", "visual_encoder.")])
def test_visual_weights_from_a_file(tmp_path, init, prefix):
    sizes = {"image_size": 32, "dim": 24, "depth": 1, "heads": 2}
    source = VisualEncoder(**sizes, qkv_bias=init == "marlin")
    path = tmp_path / "weights.pt"
    # Checkpoints of whole pre-training models hold more than the encoder.
    whole = {prefix + k: v for k, v in source.state_dict().items()} | {"decoder.mask_token": torch.zeros(1)}
    torch.save({"state_dict": whole}, path)
    target = VisualEncoder(**sizes, qkv_bias=init == "marlin")
    load_visual_encoder(target, VisualModelConfig(init=init, weights=str(path), **sizes))
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_other_visual_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"head.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"no 'encoder\.\*' keys; these are weights of something else"):
        load_visual_encoder(VisualEncoder(depth=1), VisualModelConfig(init="marlin", weights=str(path)))
