"""SyncNet against the released way of computing it: window by window, then lag by lag."""

import pytest
import torch
import torch.nn.functional as F

from avdfd.features.filterbank import log_cepstra
from avdfd.models.syncnet import SIDE, SyncNet, confidence, from_released, lag_distance, windows

KEYS = {
    "netcnnaud.0": (64, 1, 3, 3),
    "netcnnaud.4": (192, 64, 3, 3),
    "netcnnaud.8": (384, 192, 3, 3),
    "netcnnaud.11": (256, 384, 3, 3),
    "netcnnaud.14": (256, 256, 3, 3),
    "netcnnaud.18": (512, 256, 5, 4),
    "netfcaud.0": (512, 512),
    "netfcaud.3": (1024, 512),
    "netcnnlip.0": (96, 3, 5, 7, 7),
    "netcnnlip.4": (256, 96, 1, 5, 5),
    "netcnnlip.8": (256, 256, 1, 3, 3),
    "netcnnlip.11": (256, 256, 1, 3, 3),
    "netcnnlip.14": (256, 256, 1, 3, 3),
    "netcnnlip.18": (512, 256, 1, 6, 6),
    "netfclip.0": (512, 512),
    "netfclip.3": (1024, 512),
}
NORMS = {
    **{f"netcnnaud.{n}": c for n, c in ((1, 64), (5, 192), (9, 384), (12, 256), (15, 256), (19, 512))},
    **{f"netcnnlip.{n}": c for n, c in ((1, 96), (5, 256), (9, 256), (12, 256), (15, 256), (19, 512))},
    **{"netfcaud.1": 512, "netfclip.1": 512},
}


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = SyncNet(width=1 / 32)
    with torch.no_grad():  # statistics other than the initial ones
        model(255 * torch.rand(2, 3, 8, SIDE, SIDE), 5 * torch.randn(2, 13, 32), reach=1)
    return model.eval()


@pytest.fixture(scope="module")
def clip():
    faces = 255 * torch.rand(2, 3, 10, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return faces, 5 * drawn(2, 13, 39, seed=2)


def test_released_keys_and_shapes():
    with torch.device("meta"):
        own = {key: tuple(value.shape) for key, value in SyncNet().state_dict().items()}
    expected = {}
    for name, shape in KEYS.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, count in NORMS.items():
        statistics = ("weight", "bias", "running_mean", "running_var")
        expected |= {f"{name}.{key}": (count,) for key in statistics} | {f"{name}.num_batches_tracked": ()}
    assert own == expected


def test_a_file_without_counters_of_batch_norms_loads(small):
    weights = small.state_dict()
    old = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    loaded = from_released(old)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], old[key]) for key in old)
    assert all(torch.equal(value, weights[key]) for key, value in from_released(weights).items())


def norm(x, w, name):
    return F.batch_norm(x, *(w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")))


def units(x, w, name):
    x = norm(F.linear(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"]), w, f"{name}.1").relu()
    return F.linear(x, w[f"{name}.3.weight"], w[f"{name}.3.bias"])


def released_face(x, w):
    """One window (3, 5, 224, 224) -> (E,)."""

    def block(x, number, **sizes):
        x = F.conv3d(x, w[f"netcnnlip.{number}.weight"], w[f"netcnnlip.{number}.bias"], **sizes)
        return norm(x, w, f"netcnnlip.{number + 1}").relu()

    x = F.max_pool3d(block(x[None], 0, stride=(1, 2, 2)), (1, 3, 3), (1, 2, 2))
    x = F.max_pool3d(block(x, 4, stride=(1, 2, 2), padding=(0, 1, 1)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for number in (8, 11, 14):
        x = block(x, number, padding=(0, 1, 1))
    x = block(F.max_pool3d(x, (1, 3, 3), (1, 2, 2)), 18)
    return units(x.flatten(1), w, "netfclip")[0]


def released_speech(x, w):
    """One window (13, 20) -> (E,)."""

    def block(x, number, **sizes):
        x = F.conv2d(x, w[f"netcnnaud.{number}.weight"], w[f"netcnnaud.{number}.bias"], **sizes)
        return norm(x, w, f"netcnnaud.{number + 1}").relu()

    x = block(x[None, None], 0, padding=1)
    x = F.max_pool2d(block(x, 4, padding=1), 3, (1, 2))
    for number in (8, 11, 14):
        x = block(x, number, padding=1)
    x = block(F.max_pool2d(x, 3, 2), 18)
    return units(x.flatten(1), w, "netfcaud")[0]


def test_distances_equal_the_released_ones(small, clip):
    faces, cepstra = clip
    w, reach = small.state_dict(), 3
    with torch.no_grad():
        found = small(faces, cepstra, reach=reach)
        for number in range(2):
            video = torch.stack([released_face(faces[number, :, v : v + 5], w) for v in range(5)])
            audio = torch.stack([released_speech(cepstra[number, :, 4 * v : 4 * v + 20], w) for v in range(5)])
            padded = F.pad(audio, (0, 0, reach, reach))
            rows = [F.pairwise_distance(video[v].repeat(7, 1), padded[v : v + 7]) for v in range(5)]
            torch.testing.assert_close(found[number], torch.stack(rows).mean(dim=0), rtol=1e-4, atol=1e-4)
            assert found[number].std() > 0


def test_windows_of_an_element_are_the_released_ones():
    """Frames less five, of the shorter stream: 71 for 77 frames and 49,152 samples, 76 frames of audio."""
    assert windows(77, log_cepstra(torch.zeros(49_152)).shape[1]) == min(77, 49_152 // 640) - 5
    for frames in (10, 25, 76):
        assert windows(77, log_cepstra(torch.zeros(640 * frames)).shape[1]) == frames - 5


def test_clips_do_not_depend_on_the_batch(small, clip):
    together = small(*clip, reach=2)
    for number in range(2):
        alone = small(*(x[number : number + 1] for x in clip), reach=2)
        torch.testing.assert_close(together[number], alone[0], rtol=1e-4, atol=1e-5)


def test_an_impulse_moves_exactly_its_windows(small, clip):
    faces, cepstra = (x[:1].clone() for x in clip)
    before = small.embed_faces(faces), small.embed_speech(cepstra, 5)
    faces[:, :, 6] = 0
    cepstra[..., 9] += 20
    moved = [
        (ours - theirs).abs().sum(dim=2)[0].gt(1e-5).nonzero().flatten().tolist()
        for ours, theirs in zip(before, (small.embed_faces(faces), small.embed_speech(cepstra, 5)), strict=True)
    ]
    assert moved == [[2, 3, 4, 5], [0, 1, 2]], "windows of frames 2 to 9, and of cepstra 0 to 27"


@pytest.mark.parametrize("late", [-2, 0, 4])
def test_late_audio_is_found_at_its_lag(late):
    audio = drawn(1, 40, 16)
    video = audio.roll(-late, dims=1) + 0.1 * drawn(1, 40, 16, seed=1)
    distances = lag_distance(video, audio)
    assert distances.argmin().item() - 15 == late
    assert confidence(distances) == distances.sort().values[0, 15] - distances.min()


def test_confidence_is_high_if_one_lag_stands_out():
    flat, one = torch.full((31,), 10.0), torch.full((31,), 10.0)
    one[20] = 4.0
    assert confidence(torch.stack([flat, one])).tolist() == [0.0, 6.0]


def test_gradient_reaches_both_networks():
    torch.manual_seed(0)
    model = SyncNet(width=1 / 32)
    model(255 * torch.rand(2, 3, 8, SIDE, SIDE), torch.randn(2, 13, 32), reach=1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(net[0].weight.grad.abs().sum() > 0 for net in (model.netcnnaud, model.netcnnlip, model.netfcaud))
