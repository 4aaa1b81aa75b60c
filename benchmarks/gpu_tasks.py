"""The systems that `gpu.py` measures, as released and as ours."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from avdfd.config import SpeedConfig
from avdfd.datasets.loaders import Inputs
from avdfd.datasets.residency import Place
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.features.window import FACE_SIZE
from avdfd.models.detector import Detector
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.training import backbone_cache, loop
from avdfd.training.cached_batches import CachedBatches
from avdfd.training.flops import training_flops
from benchmarks import baselines, training_ways
from benchmarks.baselines import Case, Form, action
from benchmarks.training_data import Source, made_up
from benchmarks.training_ways import Way, as_read, front_end, stage1, stage2, stage2a, take, with_features

LAYERS = SpeedConfig(compile=True)
Decode = Literal["cpu", "cuda"]
Takes = Literal["frames", "audio", "waveform", "mouths", "features"]
"""Inputs of a system: frames with audio and mouth shapes, mel, waveform, mel with mouth shapes, cached features."""


class Running(NamedTuple):
    """A system on the device."""

    batch: Callable[[int], Any]
    """Number of clips -> generated inputs on the device."""
    step: Callable[[Any], None]
    flops: Callable[[Any], float]
    """Inputs -> operations per clip."""
    fed: Callable[[Path, int, int], Iterator[Any]] | None = None
    """Folder of generated clips, clips per batch and loader processes -> endless inputs, read as in training."""


class Task(NamedTuple):
    """A system in one form."""

    system: str
    form: str
    clips: int
    """Clips of a step, which the published recipe has or is near to."""
    start: Callable[[torch.device], Running]
    least: int = 1
    """Fewest clips of a step, of which others are multiples."""

    @property
    def name(self) -> str:
        return f"{self.system}: {self.form}"


def side_of(*, toy: bool) -> int:
    """Return the side of the frames of stage 2."""
    return training_ways.TOY["visual"]["image_size"] if toy else FACE_SIZE


def tasks(*, toy: bool) -> list[Task]:
    """Return all of them, the most important first."""
    sizes = training_ways.TOY if toy else training_ways.PUBLISHED
    side = side_of(toy=toy)

    def way(
        system: str, form: str, clips: int, make: Callable[[], Way], takes: Takes = "frames", decode: Decode = "cpu"
    ) -> Task:
        start = partial(_start_way, make, side, takes=takes, decode=decode)
        return Task(system, form, 2 if toy else clips, start, least=2)

    def two(form: str, *, frozen: bool, decode: Decode = "cpu", **options: Any) -> Task:
        system = f"stage 2, {'frozen' if frozen else 'full'}"
        return way(system, form, 32, partial(stage2, sizes, frozen=frozen, **options), decode=decode)

    def cached(form: str, **options: Any) -> Task:
        make = partial(stage2, sizes, frozen=True, cached=True, **options)
        return way("stage 2, cached", form, 256, make, takes="features")

    def speech(*, trained: bool, form: str = "ours", speed: SpeedConfig | None = None) -> Task:
        system = f"XLS-R 300M, {'trained' if trained else 'frozen'}"
        return way(system, form, 32, partial(front_end, sizes, trained=trained, speed=speed), takes="waveform")

    of_baselines = baselines.TOY if toy else baselines.PUBLISHED

    def case(system: str, form: Form, clips: int, make: Callable[[int], Case], *, speed: SpeedConfig | None = None,
             each: int = 1, fixed: bool = False) -> Task:  # fmt: skip
        name = "released" if form == "released" else "ours, compiled" if speed else "ours"
        clips = clips if not toy or fixed else 2
        return Task(system, name, clips * each, partial(_start_case, make, form, speed, each), least=each)

    def of_all(form: Form, speed: SpeedConfig | None = None) -> Iterator[Task]:
        """Baselines; VFD's clips are pairs of a voice and a face."""
        for stage in ("finetune", "pretrain"):
            yield case(f"AVFF {stage}", form, 16, partial(baselines.avff, of_baselines, stage=stage), speed=speed)
        yield case("MRDF", form, 64, partial(baselines.mrdf, of_baselines), speed=speed)
        yield case("VFD 2023", form, 16, partial(baselines.vfd2023, of_baselines), speed=speed, each=11)
        fixed = lambda clips: baselines.vfd2022(of_baselines)  # noqa: E731 - the loss has a real pair and five fakes
        yield case("VFD 2022", form, 1, fixed, speed=speed, each=6, fixed=True)

    decoded: Decode = "cpu" if toy else "cuda"
    return [
        two("ours, two branches", frozen=False),
        two("ours, three branches", frozen=False, three=True),
        two("ours, three branches, half of the tokens", frozen=False, three=True, keep=0.5),
        two("ours, two branches", frozen=True),
        two("ours, three branches", frozen=True, three=True),
        cached("ours, two branches"),
        cached("ours, three branches", three=True),
        way("stage 1", "ours", 512, partial(stage1, sizes), takes="audio"),
        way("stage 2a", "ours", 256, partial(stage2a, sizes), takes="mouths"),
        speech(trained=False),
        speech(trained=True),
        *of_all("default"),
        two("ours, two branches, decoded on the GPU", frozen=False, decode=decoded),
        two("ours, two branches, decoded on the GPU", frozen=True, decode=decoded),
        two("released", frozen=False, released=True),
        two("released", frozen=True, released=True),
        way("stage 1", "released", 512, partial(stage1, sizes, released=True), takes="audio"),
        *of_all("released"),
        two("ours, two branches, compiled", frozen=False, speed=LAYERS),
        two("ours, two branches, compiled", frozen=True, speed=LAYERS),
        way("stage 1", "ours, compiled", 512, partial(stage1, sizes, speed=LAYERS), takes="audio"),
        speech(trained=True, form="ours, compiled", speed=LAYERS),
        *(task for task in of_all("default", LAYERS) if task.system != "MRDF"),  # it has no transformer layers
        two("ours, two branches, compiled as a whole", frozen=False, whole=True),
        two("ours, two branches, compiled as CUDA graphs", frozen=False, graphs=True),
        two("ours, two branches, checkpointing", frozen=False, speed=SpeedConfig(checkpointing=True)),
    ]


def _start_way(
    make: Callable[[], Way], side: int, device: torch.device, *, takes: Takes = "frames", decode: Decode = "cpu"
) -> Running:
    with device:  # drawing weights takes longer on a CPU
        way = make()
    step = take(way, device)

    def batch(clips: int) -> Any:
        video = takes in ("frames", "mouths", "features")
        made = made_up(clips, device, video=video, waveform=takes == "waveform", side=side)
        if takes == "features":
            assert isinstance(way.model, Detector | TwoBranchDetector), "a detector has cached features"
            return with_features(way.model, made)
        return as_read(way, made)

    def fed(folder: Path, clips: int, workers: int) -> Iterator[Any]:
        if takes == "features":
            return iter(_cached(way.model, folder, clips, workers, side, device))
        three, place = isinstance(way.model, Detector), memory_of(device) if takes == "audio" else "disk"
        options: dict[str, Any] = {"shape": three, "side": side, "place": place, "decode": decode}
        return iter(Source(folder, clips, workers, device, video=way.video, released=way.released, **options))

    flops = lambda x: training_flops(way.model, *way.clips(x))  # noqa: E731
    return Running(batch, step, flops, None if takes in ("waveform", "mouths") else fed)


def _cached(model: Any, folder: Path, clips: int, workers: int, side: int, device: torch.device) -> Iterator[Any]:
    """Endless batches from the cache of the frozen parts, which is filled first, in the device's memory."""
    store = ElementStore(folder / "elements")
    encoder = backbone_cache.Encoder(model, Inputs(side, shape=isinstance(model, Detector)), "bf16", device)
    cache = backbone_cache.open_cache(store, encoder)
    backbone_cache.fill(cache, store.metas.rows, store, encoder, workers=workers)
    model.train()
    order = Shared(Shuffled(len(store), min(clips, len(store)), 0))
    epoch = CachedBatches(cache, store.metas, order, device, model.encoded, place=memory_of(device))
    return (batch for _, batch in chain.from_iterable(repeat(epoch)))


def memory_of(device: torch.device) -> Place:
    return "gpu" if device.type == "cuda" else "memory"


def _start_case(
    make: Callable[[int], Case], form: Form, speed: SpeedConfig | None, each: int, device: torch.device
) -> Running:
    case = make(1)
    with device:
        model = case.build(form)
    model = model.to(device)
    loop.speed_up(model, speed or SpeedConfig(), device, "bf16")  # as for the released form, TF32 has torch's default
    run = action(case, form, model, device, train=True)

    def batch(clips: int) -> Any:
        return tuple(x.to(device) for x in make(clips // each).inputs)

    def flops(inputs: Any) -> float:
        """Count those of the forward pass with scores: losses make decisions by values, which the count has not."""
        return training_flops(model, *inputs, call=lambda net, *x: case.scores(net, *x, released=False))

    return Running(batch, run, flops)
