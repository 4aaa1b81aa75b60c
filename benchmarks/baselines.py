"""A training step and a forward pass of each baseline as its authors released it, against ours.

    python benchmarks/baselines.py [--size small|full] [--device cpu|cuda] [--repeats 5] [--batch AVFF MRDF VFD2023]

"released" is what the published code executes, composed of our modules in faithful mode:
- AVFF (OpenAVFF): attention that computes the (N, N) matrix, then its softmax, then the product; fusion across the
  batch; slots removed and restored by boolean masks of the tokens' size; fp16 autocast and a GradScaler on a GPU.
- MRDF: no transformer layer and so no attention; pooling without a gradient, so that the stem before it gets none; a
  padding mask even if nothing is padded; losses in Python loops over samples, in the variant margin over pairs of
  samples; fp16 autocast and a GradScaler on a GPU. Its front ends have no loop over samples.
- VFD 2022: a real pair and five fakes per step in four passes, of which training does not use that of the fake voices;
  explicit attention; a triplet loss per fake; distances one by one; float32.
- VFD 2023, fine-tuning: four passes, ten fakes of its own for each real pair; float32. Attention stays fused: the
  released nn.MultiheadAttention is called without weights, and today's torch then fuses it.
Omitted, in favour of the released code: loading, DataParallel, logs, metrics, deterministic cuDNN, and the averages of
the fusion networks' attention weights. TF32 has torch's default.

Ours has two forms, as baseline.py runs them: bf16 autocast on a GPU, float32 on a CPU, `recipe_optimizer`. "faithful"
does the same as the released code. "default" does more in places: AVFF's fusion attends over tokens and its head takes
each of them, MRDF's stem is trained. Inputs, sizes and kind of loss are the same: AVFF has no critics, and VFD 2023
embeds every fake where baseline.py shares those of a batch. MRDF with 12 layers has no released counterpart.

Released and faithful are first checked to give the same loss and scores. Repeats are interleaved. A CPU computes with
one thread, whose own time is counted, so that other work on the machine has little influence.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.config import RecipeConfig
from avdfd.models import vfd_losses
from avdfd.models.avhubert import ResNet
from avdfd.models.mrdf import Mrdf
from avdfd.models.mrdf_losses import Labels, fused_loss, mrdf_loss
from avdfd.models.vfd import VoiceFace
from avdfd.training.attention import Attention
from avdfd.training.optim import recipe_optimizer
from avdfd.training.precision import autocast
from OpenAVFF.finetuning import VideoCAVMAEFT
from OpenAVFF.pretraining import VideoCAVMAE

Form = Literal["released", "faithful", "default"]
Sizes = dict[str, dict[str, Any]]
SMALL: Sizes = {
    "avff": {"dim": 128, "encoder_depth": 12, "heads": 2},
    "decoder": {"decoder_dim": 64, "decoder_depth": 4, "decoder_heads": 1},
    "mrdf": {"dim": 192, "heads": 3, "ffn_dim": 768, "width": 32},
    "vfd2022": {"dim": 256, "depth": 2, "heads": 2, "mlp_dim": 512, "width": 0.25},
    "vfd2023": {"dim": 192, "depth": 2, "heads": 3, "out_dim": 128},
}
TOY: Sizes = {
    "avff": {"dim": 16, "encoder_depth": 1, "heads": 1},
    "decoder": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 1},
    "mrdf": {"dim": 32, "heads": 4, "ffn_dim": 48, "width": 8},
    "vfd2022": {"dim": 32, "depth": 1, "heads": 2, "mlp_dim": 32, "width": 0.05},
    "vfd2023": {"dim": 24, "depth": 1, "heads": 3, "out_dim": 8},
}
PUBLISHED: Sizes = {system: {} for system in SMALL}


class Case(NamedTuple):
    """A system; `loss` and `scores` take a model, `inputs`, and `released` for the released computation."""

    name: str
    build: Callable[[Form], nn.Module]
    inputs: tuple[Tensor, ...]
    loss: Callable[..., Tensor]
    scores: Callable[..., Tensor]
    forms: tuple[Form, ...] = ("released", "faithful", "default")
    fp16: bool = True
    explicit: bool = True


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--size", choices=("small", "full"), default="small")
    cli.add_argument("--device", default="cpu")
    cli.add_argument("--repeats", type=int, default=5)
    cli.add_argument("--batch", type=int, nargs=3, metavar=("AVFF", "MRDF", "VFD2023"))
    args = cli.parse_args()
    torch.set_num_threads(1)
    device, small = torch.device(args.device), args.size == "small"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    print(f"{where}, torch {torch.__version__}, size {args.size}, load average {os.getloadavg()[0]:.1f}")
    print(f"ms, median of {args.repeats} (speed-up over released); GB per step in addition to weights and optimiser")
    print(f"{'':36s}{'params, M':>10s}{'released':>11s}{'faithful':>16s}{'default':>17s}   memory")
    for case in cases(SMALL if small else PUBLISHED, *(args.batch or ((1, 4, 2) if small else (16, 64, 16)))):
        case = case._replace(inputs=tuple(x.to(device) for x in case.inputs))
        if "released" in case.forms:
            check(case, device)
        report(case, device, args.repeats)
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


def check(case: Case, device: torch.device) -> None:
    """Check that faithful mode and the released computation give the same loss and scores, and that every attention
    module that ran used explicit attention."""
    released, fused = (case.build(form).to(device).eval() for form in ("released", "faithful"))
    fused.load_state_dict(released.state_dict())
    ran: list[nn.Module] = []
    for module in released.modules():
        if "Attention" in type(module).__name__:
            module.register_forward_hook(lambda module, *_: ran.append(module))
    for way in (case.loss, case.scores):
        with torch.no_grad(), explicit_attention() as made:
            one = way(released, *case.inputs, released=True)
        assert len(made) == len(ran), f"{case.name}: {len(made)} matrices made in {len(ran)} attention modules"
        ran.clear()
        with torch.no_grad():
            other = way(fused, *case.inputs, released=False)
        error = ((one - other).norm() / other.norm()).item()
        assert error < 1e-4, f"{case.name}: the two forms differ by {error:.1e}"


def report(case: Case, device: torch.device, repeats: int) -> None:
    models = [case.build(form).to(device) for form in case.forms]
    size = sum(p.numel() for p in models[-1].parameters()) / 1e6
    for train in (True, False):
        runs = [
            partial(action(case, form, model, device, train), case.inputs)
            for form, model in zip(case.forms, models, strict=True)
        ]
        times, peaks = measure(runs, repeats, device)
        cells = "".join(f"{t:10.1f} ({times[0] / t:4.2f})" for t in times[1:])
        first = f"{times[0]:{11 if cells else 37}.1f}"
        memory = " ".join(f"{peak / 2**30:.2f}" for peak in peaks) if device.type == "cuda" else "-"
        name = f"{case.name:28s}{'train' if train else 'infer':8s}{size:10.1f}"
        print(f"{name}{first + cells:44s}   {memory}", flush=True)


def measure(runs: Sequence[Callable[[], None]], repeats: int, device: torch.device) -> tuple[list[float], list[int]]:
    """Median milliseconds of each, and the peak GPU memory that it allocates."""
    gpu = device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    times: list[list[float]] = [[] for _ in runs]
    peaks = [0] * len(runs)
    for repeat in range(-2, repeats):  # two for warm-up
        for k in range(len(runs))[:: 1 - 2 * (repeat % 2)]:
            if gpu:
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
                torch.cuda.synchronize(device)
            started = clock()
            runs[k]()
            if gpu:
                torch.cuda.synchronize(device)
                peaks[k] = torch.cuda.max_memory_allocated(device) - before
            if repeat >= 0:
                times[k].append(1000 * (clock() - started))
    return [statistics.median(column) for column in times], peaks


def action(
    case: Case, form: Form, model: nn.Module, device: torch.device, train: bool
) -> Callable[[tuple[Tensor, ...]], None]:
    """A training step or an inference on some inputs, with the autocast, attention and optimiser of a form."""
    released, recipe = form == "released", RecipeConfig(lr=1e-5, weight_decay=1e-6)
    fp16 = released and case.fp16 and device.type == "cuda"
    optimizer = recipe_optimizer([(model.parameters(), 1.0)], recipe)
    if released:
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=fp16)
    way = case.loss if train else case.scores
    ours = Attention("auto", device, "bf16")
    model.train(train)

    def scores(net: nn.Module, *inputs: Tensor) -> Tensor:
        return case.scores(net, *inputs, released=False)

    def run(inputs: tuple[Tensor, ...]) -> None:
        half = torch.autocast(device.type, torch.float16, enabled=fp16) if released else autocast(device, "bf16")
        attention: AbstractContextManager[Any] = nullcontext() if released else ours(model, *inputs, call=scores)
        if released and case.explicit:
            attention = explicit_attention()
        with torch.inference_mode(not train), half, attention:
            out = way(model, *inputs, released=released)
        if train:
            optimizer.zero_grad()
            scaler.scale(out).backward()
            scaler.step(optimizer)
            scaler.update()

    return run


@contextmanager
def explicit_attention() -> Iterator[list[torch.Size]]:
    """Replace fused attention by three explicit steps; yield the shapes of the matrices computed so far."""
    made = []

    def attend(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None, **_: Any) -> Tensor:
        weights = (q * (scale or q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        made.append(weights.shape)
        return weights @ v

    with mock.patch.object(F, "scaled_dot_product_attention", attend):
        yield made


# ---- AVFF


class ReleasedPretraining(VideoCAVMAE):
    """Removal and restoration of slots as in OpenAVFF."""

    def fuse(self, audio: Tensor, video: Tensor, visible_video: Tensor, visible_audio: Tensor) -> tuple[Tensor, Tensor]:
        both, masks, visible = [], [], []
        for tokens, slots in ((audio, visible_audio), (video, visible_video)):
            x = tokens.reshape(len(tokens), self.slots, -1, tokens.shape[-1])
            mask = torch.zeros_like(x, dtype=torch.bool)
            mask[:, slots] = True
            both.append(torch.zeros_like(x))
            masks.append(mask)
            visible.append((x * mask.float())[mask].reshape(len(x), -1, x.shape[-1]))
        predicted = self.v2a(visible[1]), self.a2v(visible[0])
        for x, mask, own, other in zip(both, masks, visible, predicted, strict=True):
            x[mask], x[~mask] = own.flatten(), other.flatten()
        return both[0].flatten(1, 2), both[1].flatten(1, 2)


def avff(sizes: Sizes, batch: int, stage: str) -> Case:
    def build(form: Form) -> nn.Module:
        if stage == "finetune":
            return VideoCAVMAEFT(**sizes["avff"], faithful=form != "default")
        kind = ReleasedPretraining if form == "released" else VideoCAVMAE
        return kind(**sizes["avff"], **sizes["decoder"], faithful=form != "default")

    def pretrain(model: nn.Module, audio: Tensor, video: Tensor, *, released: bool) -> Tensor:
        return model(audio, video, (0, 2, 5, 7)).total_loss

    def scores(model: nn.Module, audio: Tensor, video: Tensor, *, released: bool) -> Tensor:
        return model(audio, video).logits.float()

    def finetune(model: nn.Module, audio: Tensor, video: Tensor, *, released: bool) -> Tensor:
        logits = scores(model, audio, video, released=released)
        return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    inputs = torch.randn(batch, 1024, 128), torch.randn(batch, 3, 16, 224, 224)
    ways = (pretrain, pretrain) if stage == "pretrain" else (finetune, scores)
    return Case(f"AVFF {stage}, {batch}", build, inputs, *ways)


# ---- MRDF


class ReleasedResNet(ResNet):
    """Pooling in three dimensions and without a gradient, channels first."""

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        assert padding_mask is None, "released means include the padding"
        x = self.frontend3D[:3](video)
        with torch.no_grad():
            x = F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        return rearrange(self.trunk(rearrange(x, "b c t h w -> (b t) c h w")), "(b t) d -> b t d", b=len(video))


def mrdf(sizes: Sizes, batch: int, variant: Any = "ce", layers: int = 0) -> Case:
    def build(form: Form) -> nn.Module:
        model = Mrdf(variant=variant, encoder_layers=layers, **sizes["mrdf"], faithful=form != "default")
        if form == "released":
            model.feature_extractor_video_hubert.resnet = ReleasedResNet(3, sizes["mrdf"].get("width", 64))
        return model

    def scores(model: nn.Module, video: Tensor, audio: Tensor, padding: Tensor, *_: Tensor, released: bool) -> Tensor:
        return model(video, audio, padding if released else None).m_logits

    def loss(
        model: nn.Module, video: Tensor, audio: Tensor, padding: Tensor, v: Tensor, a: Tensor, *, released: bool
    ) -> Tensor:
        out, labels = model(video, audio, padding if released else None), Labels(v, a)
        return looped_loss(out, labels, variant) if released else mrdf_loss(out, labels, variant)["loss"]

    steps = 77 if sizes is PUBLISHED else 16
    inputs = torch.randn(batch, 3, steps, 100, 100), torch.randn(batch, 104, steps), torch.zeros(batch, steps).bool()
    real = torch.arange(batch) % 2, torch.arange(batch) // 2 % 2
    name = f"MRDF {variant}{f', {layers} layers' * bool(layers)}, {batch} x {steps}"
    case = Case(name, build, (*inputs, *real), loss, scores)
    return case._replace(forms=("default",)) if layers else case


def looped_loss(out: Any, labels: Labels, variant: Any) -> Tensor:
    modality = looped_margin if variant == "margin" else F.cross_entropy
    modalities = modality(out.a, labels.a) + modality(out.v, labels.v)
    contrast = [pull_or_push(v, a, real) for v, a, real in zip(out.v_cross, out.a_cross, labels.m, strict=True)]
    return fused_loss(out.m_logits, labels, variant) + modalities + torch.stack(contrast).mean()


def looped_margin(x: Tensor, label: Tensor) -> Tensor:
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x))]
    return torch.stack([pull_or_push(x[i], x[j], label[i] == label[j]) for i, j in pairs]).mean()


def pull_or_push(x: Tensor, y: Tensor, together: Tensor) -> Tensor:
    cosine = F.cosine_similarity(x, y, dim=-1)
    return 1 - cosine if together else torch.clip(cosine, min=0)


# ---- VFD


def vfd2022(sizes: Sizes, fakes: int = 5) -> Case:
    def build(form: Form) -> nn.Module:
        model: Any = VoiceFace(year=2022, **sizes["vfd2022"], faithful=form != "default")
        for network in (model.voice, model.face) if form == "released" else ():
            network.features.register_forward_pre_hook(lambda _, x: x[0].contiguous())  # channels first
        return model

    def embed(network: Any, x: Tensor) -> Tensor:
        # A faithful network's output for a clip depends on the clip's place in the batch.
        return torch.cat([network(x[:1]), network(x[1:])]) if network.faithful else network(x)

    def loss(model: Any, voice: Tensor, face: Tensor, *, released: bool) -> Tensor:
        voices, faces = embed(model.voice, voice) if released else model.voice(voice[:1]), embed(model.face, face)
        if not released:
            return fakes * vfd_losses.triplet(voices, faces[:1], faces[None, 1:])
        losses = [F.triplet_margin_loss(voices[:1], faces[:1], fake[None], margin=100.0) for fake in faces[1:]]
        return torch.stack(losses).sum()

    def scores(model: Any, voice: Tensor, face: Tensor, *, released: bool) -> Tensor:
        voices, faces = embed(model.voice, voice), embed(model.face, face)
        if released:
            return torch.cat([F.pairwise_distance(v[None], f[None]) for v, f in zip(voices, faces, strict=True)])
        return model.distance(voices, faces)

    inputs = torch.randn(1 + fakes, 1, 512, 301), torch.randn(1 + fakes, 3, 224, 224)
    return Case(f"VFD 2022, 1 + {fakes}", build, inputs, loss, scores, fp16=False)


def vfd2023(sizes: Sizes, batch: int, fakes: int = 10) -> Case:
    def loss(model: Any, voice: Tensor, face: Tensor, *, released: bool) -> Tensor:
        real = len(voice) // (1 + fakes)
        split = [real, real * fakes]
        voices = [model.voice(part) for part in voice.split(split)] if released else model.voice(voice).split(split)
        faces = [model.face(part) for part in face.split(split)] if released else model.face(face).split(split)
        fake = [x[1].unflatten(0, (real, fakes)) for x in (voices, faces)]
        return vfd_losses.info_nce_pairs(voices[0], faces[0], *fake)

    def scores(model: Any, voice: Tensor, face: Tensor, *, released: bool) -> Tensor:
        return model.distance(*model(voice, face))

    pairs = batch * (1 + fakes)
    inputs = torch.randn(pairs, 1, 128, 256), torch.randn(pairs, 3, 224, 224)
    name = f"VFD 2023, {batch} + {batch * fakes}"
    build = {"year": 2023, **sizes["vfd2023"]}
    return Case(name, lambda form: VoiceFace(**build), inputs, loss, scores, fp16=False, explicit=False)


def cases(sizes: Sizes, avff_batch: int, mrdf_batch: int, vfd_batch: int) -> Iterator[Case]:
    torch.manual_seed(0)
    yield avff(sizes, avff_batch, "pretrain")
    yield avff(sizes, avff_batch, "finetune")
    yield mrdf(sizes, mrdf_batch)
    yield mrdf(sizes, mrdf_batch, "margin")
    yield mrdf(sizes, mrdf_batch, layers=12)
    yield vfd2022(sizes)
    yield vfd2023(sizes, vfd_batch)


if __name__ == "__main__":
    main()
