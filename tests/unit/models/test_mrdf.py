"""Released weights give the released numbers, and outputs do not depend on the batch."""

import json

import numpy as np
import pytest
import torch

from avdfd.core.errors import UserError
from avdfd.models.avhubert import AVHubert
from avdfd.models.mrdf import BRANCHES, Mrdf, MrdfOutput, fake_logits, from_released
from avdfd.models.mrdf_losses import Labels, mrdf_loss
from tests import reference

TOLERANCE = 1e-4
SIZES = {"encoder_layers": 2, "dim": 32, "heads": 4, "ffn_dim": 64, "width": 8}
RELEASED = {"ce": "MRDF_CE", "margin": "MRDF_Margin"}


def close(tensor, expected):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


def released_weights(variant):
    return reference.state_dict("mrdf", RELEASED[variant])


def clips(batch=2, steps=12):
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(batch, 3, steps, 32, 32, generator=generator)
    return video, torch.randn(batch, 104, steps, generator=generator)


def build(variant, **options):
    torch.manual_seed(0)
    model = Mrdf(variant=variant, **SIZES | options)
    model(*clips())  # changes the running statistics from their initial values
    return model.eval()


@pytest.fixture(scope="module")
def released():
    return {variant: Mrdf(variant=variant, encoder_layers=0, faithful=True).eval() for variant in RELEASED}


@pytest.mark.parametrize("variant", RELEASED)
def test_equals_the_released_model(released, variant):
    model = released[variant]
    model.load_state_dict(from_released(released_weights(variant)))
    padding = torch.zeros(3, 24, dtype=torch.bool)
    padding[1, -5:] = True
    video, audio = reference.tensor("mrdf.video.0", 3, 3, 24, 100, 100), reference.tensor("mrdf.audio.0", 3, 104, 24)
    with torch.no_grad():
        out = model(video, audio, padding)
    losses = mrdf_loss(out, Labels(v=torch.tensor([1, 0, 1]), a=torch.tensor([1, 1, 0])), variant)
    expected = reference.values("mrdf")
    close(out.m_logits, expected[f"{variant}_m_logits"])
    close(out.v_cross[:, ::48], expected[f"{variant}_v_cross"])
    close(out.a_cross[:, ::48], expected[f"{variant}_a_cross"])
    close(out.v[:, :16], expected[f"{variant}_v"])
    close(out.a[:, :16], expected[f"{variant}_a"])
    close(losses["loss"], expected[f"{variant}_loss"])
    close(losses["mm_loss"], expected[f"{variant}_mm_loss"])


@pytest.mark.parametrize("variant", RELEASED)
def test_keys_and_shapes_are_the_released_ones(released, variant):
    layout = json.loads((reference.FOLDER / "mrdf_state_dicts.json").read_text())[RELEASED[variant]]
    kept = {k: tuple(s) for k, (s, _) in layout.items() if not k.startswith(("model.", "final_proj_"))}
    assert {k: tuple(v.shape) for k, v in released[variant].state_dict().items()} == kept


def test_of_two_names_the_one_without_model_is_used():
    twins = {"model.encoder.layer_norm.weight": 1, "fusion_encoder_hubert.layer_norm.weight": 2}
    for order in (twins, dict(reversed(twins.items()))):
        assert from_released(order) == {"fusion_encoder_hubert.layer_norm.weight": 2}
    assert from_released({"model.layer_norm.bias": 3}) == {"project_hubert.0.bias": 3}


@pytest.mark.parametrize("key", ["model.decoder.weight", "encoder.layers.0.fc1.weight", "backbone.weight"])
def test_unknown_keys_are_refused(key):
    with pytest.raises(UserError, match=f"not a checkpoint of MRDF: unexpected key '{key}'"):
        from_released({"mm_classifier.0.weight": torch.zeros(1), key: torch.zeros(1)})


@pytest.mark.parametrize("variant", BRANCHES)
def test_outputs_do_not_depend_on_the_batch(variant):
    """The same clip alone, padded with any values beside a longer one, and in another place."""
    model = build(variant)
    video, audio = clips()
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    with torch.no_grad():
        alone = model(video[:1, :, :7], audio[:1, :, :7])
        for order in ([0, 1], [1, 0]):
            together = model(video[order], audio[order], padding[order])
            for single, both in zip(alone, together, strict=True):
                if single is None:
                    assert both is None
                else:
                    torch.testing.assert_close(both[[order.index(0)]], single, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_in_training_either():
    """Statistics of batch norms are those of the real frames, whatever the padding."""
    video, audio = clips()
    outs, stats = [], []
    for steps in (12, 15):
        model = build("ce", dropout=0.0).train()
        padding = torch.arange(steps) >= torch.tensor([7, 12])[:, None]
        longer = torch.zeros(2, 3, steps, 32, 32), torch.zeros(2, 104, steps)
        longer[0][:, :, :12], longer[1][:, :, :12] = video, audio
        outs.append(model(*longer, padding))
        stats.append(model.feature_extractor_video_hubert.resnet.trunk.layer4[1].bn2.running_var)
    for one, other in zip(*outs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*stats)


def test_faithful_means_include_the_padding():
    model = build("ce", faithful=True)
    video, audio = clips()
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    with torch.no_grad():
        alone, together = model(video[:1, :, :7], audio[:1, :, :7]), model(video, audio, padding)
        unmasked = model(video, audio)
    assert (together.a_cross[0] - alone.a_cross[0]).abs().max() > 1e-3
    assert torch.equal(together.a_cross, unmasked.a_cross)
    assert torch.equal(together.v, unmasked.v)


@pytest.mark.parametrize("variant", BRANCHES)
def test_every_parameter_is_trained(variant):
    model = build(variant).train()
    losses = mrdf_loss(model(*clips(4)), Labels(v=torch.tensor([1, 0, 1, 0]), a=torch.tensor([1, 1, 0, 0])), variant)
    losses["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_faithful_stem_is_never_trained():
    model = build("ce", faithful=True).train()
    before = model.feature_extractor_video_hubert.resnet.frontend3D[1].running_mean.clone()
    out = model(*clips(4))
    mrdf_loss(out, Labels(v=torch.tensor([1, 0, 1, 0]), a=torch.tensor([1, 1, 0, 0])), "ce")["loss"].backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    stem = model.feature_extractor_video_hubert.resnet.frontend3D
    assert idle == {f"feature_extractor_video_hubert.resnet.frontend3D.{name}" for name, _ in stem.named_parameters()}
    assert not torch.equal(stem[1].running_mean, before)


def test_faithful_layers_are_post_norm():
    last = {}
    for faithful in (False, True):
        encoder = build("plain", faithful=faithful).fusion_encoder_hubert
        with torch.no_grad():
            encoder.layers[-1].final_layer_norm.bias += 5
            encoder.layer_norm.bias -= 5
            last[faithful] = encoder(torch.randn(1, 4, 32), None).mean().item()
    assert last[True] == pytest.approx(5, abs=0.1)
    assert last[False] == pytest.approx(-5, abs=0.1)


def test_starts_from_avhubert():
    torch.manual_seed(1)
    pretrained = AVHubert(**SIZES, in_channels=3).eval()
    for variant in ("ce", "ensemble"):
        model = Mrdf(variant=variant, **SIZES).eval()
        model.load_avhubert(pretrained)
        video, audio = clips()
        with torch.no_grad():
            out = model(video, audio)
            assert torch.equal(out.a_cross, pretrained.feature_extractor_audio(audio).mean(dim=1))
            assert torch.equal(out.v_cross, pretrained.feature_extractor_video(video).mean(dim=1))
            if out.m_logits is not None:
                fused = model.mm_classifier(pretrained(video, audio).mean(dim=1))
                torch.testing.assert_close(out.m_logits, fused)


@pytest.mark.parametrize("variant", BRANCHES)
def test_logits_of_being_fake(variant):
    model = build(variant)
    with torch.no_grad():
        logits = fake_logits(model(*clips(3)), variant)
    assert tuple(logits) == BRANCHES[variant]
    assert all(x.shape == (3,) and x.dtype == torch.float32 for x in logits.values())


def random_output(**shapes):
    generator = torch.Generator().manual_seed(0)
    present = {name: 3 * torch.randn(50, width, generator=generator) for name, width in shapes.items()}
    cross = torch.zeros(50, 4)
    return MrdfOutput(**{"m_logits": None, "v": None, "a": None, "v_cross": cross, "a_cross": cross, **present})


def test_two_classes_are_fake_and_real():
    out = random_output(m_logits=2, v=2, a=2)
    logits = fake_logits(out, "ce")
    for branch, two in (("fused", out.m_logits), ("visual", out.v), ("audio", out.a)):
        torch.testing.assert_close(logits[branch].sigmoid(), two.softmax(dim=1)[:, 0])
    torch.testing.assert_close(fake_logits(out, "margin"), {"fused": logits["fused"]})


def test_four_classes_are_summed():
    out = random_output(m_logits=4)
    p = out.m_logits.softmax(dim=1)
    logits = fake_logits(out, "multiclass")
    torch.testing.assert_close(logits["fused"].sigmoid(), 1 - p[:, 0])
    torch.testing.assert_close(logits["visual"].sigmoid(), p[:, 1] + p[:, 3])
    torch.testing.assert_close(logits["audio"].sigmoid(), p[:, 2] + p[:, 3])


def test_fused_logit_of_scored_modalities_decides_as_released():
    ensemble = random_output(v=2, a=2)
    real = (ensemble.a.argmax(dim=1) + ensemble.v.argmax(dim=1)) == 2
    assert torch.equal(fake_logits(ensemble, "ensemble")["fused"] < 0, real)
    multilabel = random_output(m_logits=2)
    logits = fake_logits(multilabel, "multilabel")
    assert torch.equal(logits["fused"] <= 0, (multilabel.m_logits.sigmoid() >= 0.5).all(dim=1))
    torch.testing.assert_close(logits["audio"], -multilabel.m_logits[:, 0])
    torch.testing.assert_close(logits["visual"], -multilabel.m_logits[:, 1])
