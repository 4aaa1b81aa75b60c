"""Frames that the device decodes give the batches of loader processes, to 2 of 255, with the same draws."""

import shutil

import numpy as np
import pytest
import torch

from avdfd.baselines import avff, mrdf, vfd
from avdfd.config import AugmentConfig, RepresentationConfig
from avdfd.core.checksums import checksum
from avdfd.core.errors import UserError
from avdfd.datasets import jpegs, transforms
from avdfd.datasets.batches import Batches, Decoder, choose_decoder, open_batches
from avdfd.datasets.jpegs import MOST_APART, Encoded
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Draw, Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.elements.form import encode_frame, jpeg_side
from avdfd.features.window import FRAMES

CPU, GPU = torch.device("cpu"), torch.device("cuda")
AUGMENT = AugmentConfig(flip=0.5, grayscale=0.5, brightness=0.2, shift=20, mel_noise=0.2)
FORMS = {
    "stage 2": Inputs(64, AUGMENT),
    "stage 2, frames as they are": Inputs(224, AUGMENT),
    "avff": avff.Inputs("mel", 128, 0.0, 1.0, 32, AUGMENT),
    "vfd 2023": vfd.Inputs(2023, 32, True, AUGMENT),
}
DEVICE = Decoder(True)


@pytest.fixture(scope="module")
def elements(small_store):
    return ElementStore(small_store / "elements")


def order_of(store):
    return Shared(Shuffled(len(store), 5, seed=3))


def apart(one, other):
    """Largest difference in pixels, and of all other fields of two batches."""
    pixels, others = 0, 0.0
    for ours, theirs in zip(one, other, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
            continue
        assert ours.shape == theirs.shape
        if ours.dtype == torch.uint8:
            pixels = max(pixels, int((ours.int() - theirs.int()).abs().max()))
        else:
            others = max(others, float((ours.double() - theirs.double()).abs().max()))
    return pixels, others


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_loader_processes(elements, form, workers):
    """The device's code on the CPU: all clips of a batch in one pass."""
    if workers and form is not FORMS["stage 2"]:
        return
    data = ElementSet(elements, elements.metas, form)
    plain = Batches(data, order_of(elements), CPU)
    ours = Batches(data, order_of(elements), CPU, workers=workers, decoder=DEVICE)
    count = 0
    for (share, batch), (share_2, other) in zip(plain, ours, strict=True):
        assert share == share_2
        draws = [draw.seed for draw in share.draws]
        raw = jpegs.decoded_on(data.raw([d.position for d in share.draws], ours_reads(data)), CPU)
        in_one_pass = form.prepare(raw, draws)
        for found in (other, in_one_pass):
            pixels, others = apart(batch, found)
            assert pixels <= MOST_APART
            assert others <= 1e-5
        count += 1
    assert count == len(ours) > 1


def ours_reads(data):
    return data.inputs.reads._replace(encoded=True)


def test_resizing_in_floats_as_on_a_gpu(elements):
    frames = torch.from_numpy(elements.read(elements.metas[0].key, frames=range(0, FRAMES, 9)).frames)
    colours = frames.permute(0, 3, 1, 2)
    for size, mode in ((64, "bilinear"), (96, "bilinear"), (73, "bicubic")):
        small = transforms.resize(frames, size, mode).permute(0, 3, 1, 2)
        gap = (small.int() - transforms.resize_floats(colours, size, mode).int()).abs()
        assert gap.max() <= MOST_APART


def test_workers_hand_over_the_stored_bytes(elements):
    data = ElementSet(elements, elements.metas, Inputs(64))
    raw = data.raw([2, 0], data.inputs.reads._replace(encoded=True))
    assert isinstance(raw.frames, Encoded)
    assert raw.frames.sizes.shape == (2, 16)
    stored = int(raw.frames.sizes.sum(dim=1).max())
    assert raw.frames.data.shape == (2, stored)
    assert stored < 16 * 224 * 224 * 3 / 4, "not pixels"
    read = elements.read(elements.metas[2].key, frames=transforms.FRAME_CHOICE, encoded=True).frames
    assert np.array_equal(read.sizes, raw.frames.sizes[0])
    assert np.array_equal(read.data, raw.frames.data[0, : len(read.data)])


def changed_frame(elements, tmp_path, change, *, valid_sum):
    """A copy of the store, whose first element's first frame of stage 2 is changed, and the element's metadata."""
    root = shutil.copytree(elements.root, tmp_path / "store")
    k, meta = transforms.FRAME_CHOICE[0], elements.metas[0]
    sizes = elements.metas.numbers("sizes")[0].astype(int)
    start = int(elements.metas.numbers("mjpeg")[0] + sizes[:k].sum())
    path = root / "shard-000-00000.tar"
    data = bytearray(path.read_bytes())
    jpeg = change(bytearray(data[start : start + sizes[k]]))
    data[start : start + sizes[k]] = jpeg
    path.write_bytes(data)
    store = ElementStore(root)
    if valid_sum:
        sums = store._numbers["sums"].copy()
        sums[0, -FRAMES + k] = checksum(bytes(jpeg))
        store._numbers["sums"] = sums
    return store, meta, k


def zeros_at_the_end(jpeg):
    jpeg[len(jpeg) // 3 :] = bytes(len(jpeg) - len(jpeg) // 3)
    return jpeg


def huge(jpeg):
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    return jpeg


def no_tables(jpeg):
    place = jpeg.index(b"\xff\xdb")
    jpeg[place + 2 : place + 4] = b"\x00\x00"
    return jpeg


@pytest.mark.parametrize(("change", "valid_sum"), [(zeros_at_the_end, False), (huge, True), (no_tables, True)])
def test_a_damaged_frame_is_named_with_its_clip(elements, tmp_path, change, valid_sum):
    store, meta, k = changed_frame(elements, tmp_path, change, valid_sum=valid_sum)
    batches = Batches(ElementSet(store, store.metas, Inputs(64)), order_of(store), CPU, decoder=DEVICE)
    with pytest.raises(UserError, match=rf"frame {k} of the clip {meta.source} is damaged \({meta.key}\)"):
        list(batches)


def test_what_the_device_cannot_decode_is_decoded_here(elements, monkeypatch):
    def broken(encoded, device):
        raise RuntimeError("nvjpegDecodeBatched failed: 8")

    monkeypatch.setattr(jpegs, "decode", broken)
    data = ElementSet(elements, elements.metas, FORMS["stage 2"])
    plain = Batches(data, order_of(elements), CPU)
    for (_, batch), (_, other) in zip(plain, Batches(data, order_of(elements), CPU, decoder=DEVICE), strict=True):
        assert apart(batch, other)[0] == 0


def test_lack_of_memory_is_not_taken_for_damage(elements, monkeypatch):
    def full(encoded, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(jpegs, "decode", full)
    data = ElementSet(elements, elements.metas, FORMS["stage 2"])
    with pytest.raises(torch.OutOfMemoryError):
        list(Batches(data, order_of(elements), CPU, decoder=DEVICE))


def test_headers():
    jpeg = np.frombuffer(encode_frame(np.zeros((224, 224, 3), np.uint8), 90), np.uint8)
    assert jpeg_side(jpeg) == (224, 224)
    assert jpeg_side(np.frombuffer(encode_frame(np.zeros((8, 24, 3), np.uint8), 90), np.uint8)) == (8, 24)
    for other in (jpeg[1:], jpeg[:20], jpeg[:2], jpeg[:0], np.zeros(500, np.uint8)):
        assert jpeg_side(other) is None
    assert jpeg_side(np.frombuffer(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 999, np.uint8)) is None


# ---- choice


@pytest.fixture
def sets(elements):
    def sets(form):
        return ElementSet(elements, elements.metas, form)

    return sets


def test_choice_of_the_decoder(sets, monkeypatch):
    monkeypatch.setattr(jpegs, "problem_of", lambda device: "")
    video = sets(FORMS["stage 2"])
    assert choose_decoder("auto", GPU, "disk", video, video) == (True, ", frames decoded by nvJPEG")
    assert choose_decoder("auto", CPU, "disk", video) == (False, "")
    assert choose_decoder("cpu", GPU, "disk", video) == (False, ", frames decoded by these: data.decode")
    assert choose_decoder("auto", GPU, "disk", sets(Inputs(None))) == (False, "")
    memory = choose_decoder("auto", GPU, "gpu", video)
    assert memory == (False, ", frames decoded by these: decoded frames stay in memory (data.home 'gpu')")
    mouths = Inputs(64, shape=True, representation=RepresentationConfig.model_construct(kind="av-hubert", vit=None))
    for form in (mrdf.Inputs(500), mouths):
        monkeypatch.setattr(ElementStore, "has_landmarks", True)
        on_device, words = choose_decoder("auto", GPU, "disk", sets(form))
        assert (on_device, "made of frames before" in words) == (False, True)
    monkeypatch.setattr(jpegs, "problem_of", lambda device: "nvJPEG does not work here: no")
    assert choose_decoder("auto", GPU, "disk", video).words.endswith("by these: nvJPEG does not work here: no")
    with pytest.raises(UserError, match="data.decode 'cuda': nvJPEG does not work here: no; choose 'auto'"):
        choose_decoder("cuda", GPU, "disk", video)


@pytest.mark.parametrize(("form", "text"), [(FORMS["stage 2"], "the run uses the cpu"), (Inputs(None), "no frames")])
def test_a_choice_without_effect_is_refused(sets, elements, form, text):
    from avdfd.config import DataConfig

    cfg = DataConfig(splits="s", fake_tiers=["RVFA"], decode="cuda", workers=0)
    with pytest.raises(UserError, match=f"data.decode 'cuda': {text}"):
        open_batches(cfg, CPU, (sets(form), order_of(elements)))


def test_a_device_is_tried_before_it_is_chosen(monkeypatch):
    assert jpegs.problem_of(CPU) == ""
    decode = jpegs.decode
    monkeypatch.setattr(jpegs, "decode", lambda *given: decode(*given) // 2)
    assert jpegs.problem_of(CPU).startswith("nvJPEG differs from the CPU by ")
    if not torch.cuda.is_available():
        monkeypatch.setattr(jpegs, "decode", decode)
        assert jpegs.problem_of(GPU).startswith("nvJPEG does not work here: ")


# ---- on a GPU


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nvJPEG needs one")


@needs_gpu
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_nvjpeg_gives_the_batches_of_loader_processes(elements, form):
    """Resized frames, before augmentation, differ by 2 of 255 at most."""
    data = ElementSet(elements, elements.metas, form)
    draws = [Draw(position, None) for position in range(4)]
    reads = data.inputs.reads
    raw = jpegs.decoded_on(data.raw(range(4), reads._replace(encoded=True)), GPU)
    gap = (raw.frames.cpu().int() - data.raw(range(4)).frames.int()).abs()
    assert gap.max() <= MOST_APART
    found = form.prepare(raw, None)
    pixels, _ = apart([x.cpu() for x in found if x is not None], [x for x in data.batch(draws) if x is not None])
    assert pixels <= 2 * MOST_APART, "decoder and resizing round"


@needs_gpu
def test_auto_takes_nvjpeg_where_it_works(sets):
    assert choose_decoder("auto", GPU, "disk", sets(FORMS["stage 2"])).on_device
