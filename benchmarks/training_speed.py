"""A training step of the two stages as released against ours, beside the operations and bytes that it takes at least.

    python benchmarks/training_speed.py [--size small|full] [--device cpu|cuda] [--repeats 5] [--batch N] [--compile]
    python benchmarks/training_speed.py --count                                  operations at the published sizes
    python benchmarks/training_speed.py --size full --device cuda --memory       what fits into a GPU
    python benchmarks/training_speed.py --size full --device cuda --profile      where the time goes

"released" is what the published code executes, made of our modules in faithful mode, which compute the same numbers
(checked first):
- stage 2: attention of the backbone that makes the (N, N) matrix, its softmax, then the product; the backbone runs
  twice, for the tokens and for the global vector; normalised frames and mel as float32 .npy.
- stage 1: float32 .npy of the mel.
- both: fp16 autocast and a GradScaler on a GPU; AdamW as it is, not fused; the loss is read after every step; batches
  are copied to the GPU and waited for. nn.TransformerEncoderLayer, which it has too, is fused in today's torch.
Left out, in favour of the released code: its logs, metrics, and the grey-scale and flips that are in its files already.

Ours are the steps of pretrain.py and train.py: bf16 autocast on a GPU, fused AdamW, elements of a store, augmented.
"frozen" is a backbone that learns nothing. "step" is a batch that is there already, "end to end" reads it first: from
files that the system has in its memory, by loader processes on a GPU's machine and by the same process on a CPU.

Floors: operations of ours are counted on the model (avdfd/flops.py; what checkpointing repeats does not count), bytes
where they are read. The ceiling is the rate at which the device multiplies matrices, measured first, by operations per
clip. Repeats are interleaved. A CPU computes with one thread, whose own time is counted.
Baselines have a benchmark of their own, baselines.py.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset

import pretrain
import train
from avdfd import engine
from avdfd.config import AugmentConfig, PretrainConfig, SpeedConfig, TrainConfig, parse
from avdfd.datasets.feed import Feed, reads_on
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, to_device
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.datasets.tiers import tier
from avdfd.datasets.transforms import normalise
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_frame, encode_sound
from avdfd.features import FACE_SIZE, FRAMES, WINDOW
from avdfd.flops import peak, training_flops
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector
from avdfd.models.visual_encoder import VisualBranch
from avdfd.optim import adamw
from benchmarks.baselines import explicit_attention, measure

Sizes = dict[str, dict[str, Any]]
PUBLISHED: Sizes = {"audio": {}, "visual": {}, "predictor": {}}
SMALL: Sizes = {
    "audio": {"dim": 128, "mlp_dim": 256},
    "visual": {"dim": 192, "depth": 4, "heads": 3},
    "predictor": {"depth": 2, "heads": 1},
}
AUGMENT = AugmentConfig(flip=0.5, grayscale=0.5)
COMMON = {"name": "speed", "data": {"splits": "", "fake_tiers": ["RVFA"]}}
MEMORY = (24, 40, 80, 141)


class Way(NamedTuple):
    """A way of training. `clips` makes of a batch what the model takes, `loss` of its output what is minimised."""

    name: str
    model: nn.Module
    clips: Callable[[Any], tuple[Tensor, ...]]
    loss: Callable[[Any, Any], Tensor]
    sees: bool
    released: bool = False


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--size", choices=("small", "full"), default="small")
    cli.add_argument("--device", default="cpu")
    cli.add_argument("--repeats", type=int, default=5)
    cli.add_argument("--batch", type=int, help="clips per step of stage 2; stage 1 has 16 times as many")
    cli.add_argument("--workers", type=int, help="loader processes")
    cli.add_argument("--compile", action="store_true", help="compiled layers, too")
    cli.add_argument("--memory", action="store_true", help="memory and largest batches instead")
    cli.add_argument("--count", action="store_true", help="only count, at the published sizes")
    cli.add_argument("--profile", action="store_true", help="the operations of our full fine-tuning instead")
    args = cli.parse_args()
    device = torch.device(args.device)
    gpu = device.type == "cuda"
    if args.memory and not gpu:
        cli.error("--memory needs a GPU: --device cuda")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sizes = SMALL if args.size == "small" else PUBLISHED
    batch = args.batch or (32 if gpu else 1)
    workers = args.workers if args.workers is not None else (len(os.sched_getaffinity(0)) - 1 if gpu else 0)
    where = torch.cuda.get_device_name(device) if gpu else "CPU, one thread"
    print(f"{where}, torch {torch.__version__}, size {args.size}, load average {os.getloadavg()[0]:.1f}\n")
    if args.memory:
        memory(sizes, device)
    elif args.count:
        count()
    elif args.profile:
        profile(sizes, batch, device)
    else:
        speed(sizes, batch, workers, device, args.repeats, compiled=args.compile)
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


# ---- what is measured


def speed(sizes: Sizes, batch: int, workers: int, device: torch.device, repeats: int, *, compiled: bool) -> None:
    rate = matmul_rate(device)
    sheet = peak(torch.cuda.get_device_name(device), "bf16") if device.type == "cuda" else None
    print(f"matrix products: {rate / 1e12:.3f} TFLOP/s{f', data sheet {sheet / 1e12:.0f}' if sheet else ''}")
    print(f"{'':34s}{'TFLOP':>8s}{'MB read':>9s}{'to device':>10s}{'ceiling':>9s}{'step':>9s}{'share':>7s}", end="")
    print(f"{'x released':>11s}{'end to end':>12s}{'x released':>11s}   clips/s")
    with tempfile.TemporaryDirectory() as folder:
        seen = write_data(Path(folder) / "seen", 4 * batch, seen=True)
        heard = write_data(Path(folder) / "heard", 4 * 16 * batch, seen=False)
        for group, clips, data in (
            (stage2(sizes, frozen=False, compiled=compiled), batch, seen),
            (stage2(sizes, frozen=True, compiled=compiled), batch, seen),
            (stage1(sizes), 16 * batch, heard),
        ):
            check(*group[:2])
            report(group, clips, data, workers, device, repeats, rate)


def count() -> None:
    """Operations per clip at the published sizes, and what a clip takes of the bus as bytes and as floats."""
    with torch.device("meta"):
        groups = [stage2(PUBLISHED, frozen=False), stage2(PUBLISHED, frozen=True), stage1(PUBLISHED)]
    print(f"{'':34s}{'TFLOP per clip':>16s}")
    for way in (way for group in groups for way in group):
        batch = made_up(1, torch.device("cpu"))
        floats = (
            batch._replace(video=torch.zeros(batch.video.shape)) if way.released and batch.video is not None else batch
        )
        print(f"{way.name:34s}{training_flops(way.model, *way.clips(floats)) / 1e12:16.5f}")


def report(
    group: list[Way], batch: int, folder: Path, workers: int, device: torch.device, repeats: int, rate: float
) -> None:
    """A line for each way; the first is the released one."""
    sources = [Source(way, folder, batch, workers, device) for way in group]
    taken = [take(way, device) for way in group]
    ready = [next(iter(source)) for source in sources]
    work = [training_flops(way.model, *way.clips(x)) for way, x in zip(group, ready, strict=True)]
    there: list[Iterator[Any]] = [itertools.repeat(x) for x in ready]
    steps, whole = (
        measure([advance(step, x) for step, x in zip(taken, batches, strict=True)], repeats, device)[0]
        for batches in (there, sources)
    )
    for k, (way, source) in enumerate(zip(group, sources, strict=True)):
        floor = work[1]  # what is wanted, not what the released way takes for it
        step, end, ceiling = 1000 * batch / steps[k], 1000 * batch / whole[k], rate / floor
        to_device = sum(x.nbytes for x in ready[k] if x is not None) / batch / 1e6
        print(f"{way.name:34s}{work[k] / 1e12:8.4f}{source.bytes_read / 1e6:9.2f}{to_device:10.2f}", end="")
        print(f"{ceiling:9.1f}{step:9.2f}{step / ceiling:7.0%}{steps[0] / steps[k]:11.2f}", end="")
        print(f"{end:12.2f}{whole[0] / whole[k]:11.2f}", flush=True)


def advance(step: Callable[[Any], None], batches: Iterator[Any]) -> Callable[[], None]:
    return lambda: step(next(batches))


def matmul_rate(device: torch.device) -> float:
    """Operations a second in the best of ten products of large matrices."""
    gpu = device.type == "cuda"
    n, kind = (8192, torch.bfloat16) if gpu else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)

    times, _ = measure([multiply], 10, device)
    return 2 * n**3 / (times[0] / 1000)


def memory(sizes: Sizes, device: torch.device) -> None:
    """What steps of two batches reserve, and how large one may be if that grows evenly. A twentieth stays free."""
    print(f"{'':34s}{'GB at 8':>9s}{'at 16':>9s}{'MB a clip':>11s}" + "".join(f"{f'in {gb} GB':>12s}" for gb in MEMORY))
    for frozen in (False, True):
        for way in (way for way in stage2(sizes, frozen=frozen) if not way.released):
            way = way._replace(model=way.model.to(device))
            step, used = take(way, device), []
            for clips in (8, 16):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
                for _ in range(3):
                    step(made_up(clips, device))
                used.append(torch.cuda.max_memory_reserved(device))
            each = (used[1] - used[0]) / 8
            fits = [int(8 + (0.95e9 * gb - used[0]) / each) for gb in MEMORY]
            cells = "".join(f"{max(0, n):12d}" for n in fits)
            print(f"{way.name:34s}{used[0] / 1e9:9.2f}{used[1] / 1e9:9.2f}{each / 1e6:11.0f}{cells}", flush=True)
            way.model.cpu()
            del step, way


def profile(sizes: Sizes, batch: int, device: torch.device) -> None:
    """Time of each kind of operation in three steps of full fine-tuning."""
    way = stage2(sizes, frozen=False)[1]
    step, x = take(way._replace(model=way.model.to(device)), device), made_up(batch, device)
    step(x)
    with torch.profiler.profile() as found:
        for _ in range(3):
            step(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    by = f"self_{device.type}_time_total"
    print(found.key_averages().table(sort_by=by, row_limit=20, max_name_column_width=60))


# ---- ways of training


class ReleasedBranch(VisualBranch):
    """One pass for the tokens, another for the global vector, attention in three steps in both."""

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        with explicit_attention():
            return self.proj(self.backbone(video)[0]), self.proj(self.backbone(video)[1])


def stage2(sizes: Sizes, *, frozen: bool, compiled: bool = False) -> list[Way]:
    """The released way, ours, and ours with what may be traded."""
    settings = {**COMMON, "audio": "", "visual": sizes["visual"], "predictor": sizes["predictor"]}
    cfg = parse(settings, TrainConfig, "benchmark")
    audio = parse({**COMMON, "model": sizes["audio"]}, PretrainConfig, "benchmark").model

    def build(*, released: bool = False, speed: SpeedConfig | None = None) -> nn.Module:
        torch.manual_seed(0)
        model = Detector(audio, cfg.visual, cfg.predictor, faithful=released)
        if released:
            torch.manual_seed(0)
            branch = ReleasedBranch(cfg.visual, audio.dim)
            branch.load_state_dict(model.visual_encoder.state_dict())
            model.visual_encoder = branch
        if frozen:
            model.visual_encoder.backbone.requires_grad_(False)
        engine.speed_up(model, speed or SpeedConfig(), torch.device("cpu"), cfg.optim.precision)
        return model

    def loss(out: Any, batch: Any) -> Tensor:
        return train.stage2_loss(cfg, out.logit_final, out.logit_a2v, out.mismatch_mse, batch.label)

    def ours(name: str, **speed: bool) -> Way:
        model = build(speed=SpeedConfig(**speed))
        return Way(name, model, lambda batch: (batch.mel, normalise(batch.video)), loss, sees=True)

    title = "stage 2, frozen" if frozen else "stage 2, full"
    released = Way(
        f"{title}: released", build(released=True), lambda b: (b.mel, b.video), loss, sees=True, released=True
    )
    ways = [released, ours(f"{title}: ours")]
    if not frozen:
        ways.append(ours(f"{title}: checkpointing", checkpointing=True))
    if compiled:
        ways.append(ours(f"{title}: compiled", compile=True))
    return ways


def stage1(sizes: Sizes) -> list[Way]:
    cfg = parse({**COMMON, "model": sizes["audio"]}, PretrainConfig, "benchmark")

    def build() -> AudioNet:
        torch.manual_seed(0)
        return AudioNet(cfg.model)

    def way(name: str, released: bool) -> Way:
        model = build()

        def loss(out: Any, batch: Any) -> Tensor:
            return pretrain.stage1_loss(cfg, out.z, out.logit, batch.label, batch.audio_class, model.prototype)

        return Way(name, model, lambda batch: (batch.mel,), loss, sees=False, released=released)

    return [way("stage 1: released", True), way("stage 1: ours", False)]


def take(way: Way, device: torch.device) -> Callable[[Any], None]:
    """A step of a way, to be called with a batch on the device."""
    model, half = way.model.to(device).train(), way.released and device.type == "cuda"
    cfg = parse({**COMMON}, PretrainConfig, "benchmark").optim
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = adamw([(trained, 1.0)], cfg)
    if way.released:
        optimizer = torch.optim.AdamW(trained, lr=cfg.lr, weight_decay=cfg.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(batch: Any) -> None:
        autocast = torch.autocast("cuda", torch.float16) if half else engine.autocast(device, "bf16")
        with autocast if half or not way.released else torch.autocast(device.type, enabled=False):
            out = model(*way.clips(batch))
        loss = way.loss(out, batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(trained, cfg.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if way.released:
            loss.item()

    return step


def check(released: Way, ours: Way) -> None:
    """Both compute the same loss of the same batch."""
    batch = made_up(2, torch.device("cpu"))
    losses = []
    for way in (released, ours):
        assert batch.video is not None, "it has been made up"
        floats = batch._replace(video=normalise(batch.video)) if way.released else batch
        with torch.no_grad():
            losses.append(way.loss(way.model.eval()(*way.clips(floats)), batch).item())
    assert abs(losses[0] / losses[1] - 1) < 1e-4, f"{released.name}: {losses[0]}, {ours.name}: {losses[1]}"


# ---- data


def made_up(clips: int, device: torch.device) -> Batch:
    draw = torch.Generator().manual_seed(0)
    batch = Batch(
        mel=torch.randn(clips, 128, 768, generator=draw),
        video=torch.randint(0, 256, (clips, 3, 16, FACE_SIZE, FACE_SIZE), generator=draw, dtype=torch.uint8),
        label=torch.arange(clips) % 2.0,
        audio_class=torch.arange(clips) % 2 * 3,
    )
    return to_device(batch, device)


class Source:
    """Batches of a way without end, on the device; `bytes_read` of a clip, as the system counts them."""

    def __init__(self, way: Way, folder: Path, batch: int, workers: int, device: torch.device) -> None:
        before = _bytes_read()
        if way.released:
            arrays = Arrays(folder / "arrays", sees=way.sees)
            arrays[0]
            epoch: Iterable[Any] = DataLoader(
                arrays, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
            )
            read = itertools.chain.from_iterable(itertools.repeat(epoch))
            batches = (Batch._make(x.to(device) for x in batch) for batch in read)
        else:
            store = ElementStore(folder / "elements")
            elements = ElementSet(store, store.metas, Inputs(FACE_SIZE if way.sees else None, AUGMENT))
            before = _bytes_read()  # without the index
            elements.raw([0], reads_on(elements, device))
            epoch = Feed(elements, Shared(Shuffled(len(store), batch, 0)), device, workers=workers)
            batches = (batch for _, batch in itertools.chain.from_iterable(itertools.repeat(epoch)))
        self.bytes_read = _bytes_read() - before
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)


class Arrays(Dataset[Batch]):
    """NUMBER.mel.npy (128, 768) z-scored and NUMBER.video.npy (3, 16, 224, 224) normalised, both float32."""

    def __init__(self, folder: Path, *, sees: bool) -> None:
        self.folder, self.sees = folder, sees
        self.count = len(list(folder.glob("*.mel.npy")))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        mel = torch.from_numpy(np.load(self.folder / f"{number}.mel.npy"))
        video = torch.from_numpy(np.load(self.folder / f"{number}.video.npy")) if self.sees else torch.zeros(())
        return Batch(mel, video, torch.tensor(number % 2.0), torch.tensor(number % 2 * 3))


def write_data(folder: Path, clips: int, *, seen: bool) -> Path:
    """As many clips in both forms, with noise to be heard and, if they are seen, noisy blocks to be looked at."""
    rng = np.random.default_rng(0)
    side = FACE_SIZE // 8
    coarse = (np.kron(rng.integers(0, 256, (side, side, 3)), np.ones((8, 8, 1))) for _ in range(4))
    pictures = [np.clip(x + rng.normal(0, 1, x.shape), 0, 255).astype(np.uint8) for x in coarse]
    jpegs = [encode_frame(picture, 95) for picture in pictures]
    arrays = folder / "arrays"
    arrays.mkdir(parents=True)
    with ElementWriter(folder / "elements", {"made": "up"}) as writer:
        for number in range(clips):
            name = ("RVRA", "RVFA")[number % 2]
            source = f"{tier(name).folder}/Asian/men/id{number:05d}/00000.mp4"
            clip = {"tier": name, "identities": [f"id{number:05d}"], "source": source, "base": source, "method": ""}
            clip |= {"race": "Asian", "gender": "men", "sha256": source}
            parts = encode_sound(rng.uniform(-0.5, 0.5, WINDOW))
            np.save(arrays / f"{number}.mel.npy", rng.standard_normal((128, 768), np.float32))
            if seen:
                parts["mjpeg"] = b"".join(jpegs[i] for i in rng.integers(0, len(jpegs), FRAMES))
                video = rng.standard_normal((3, 16, FACE_SIZE, FACE_SIZE), np.float32)
                np.save(arrays / f"{number}.video.npy", video)
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": parts}])
    return folder


def _bytes_read() -> int:
    """What this process has asked the system to read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    main()
