"""Generated clips for `training_speed.py` and `gpu.py`, in the form the released code reads and in ours."""

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from avdfd.config import AugmentConfig
from avdfd.core.tiers import tier
from avdfd.datasets.batches import Batches, choose_decoder, reads_on
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, stack, to_device
from avdfd.datasets.residency import Place
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import LANDMARKS, encode_audio, encode_frame, encode_landmarks
from avdfd.features.mouth_shape import SHAPE, USED
from avdfd.features.window import FACE_SIZE, FRAMES, WINDOW

AUGMENT = AugmentConfig(flip=0.5, grayscale=0.5)


def made_up(
    clips: int, device: torch.device, *, video: bool = True, waveform: bool = False, side: int = FACE_SIZE
) -> Batch:
    """Return a batch of noise: the mel, or the `waveform` in its place, and with `video` frames and mouth shapes."""
    draw = torch.Generator(device).manual_seed(0)
    normal = partial(torch.randn, generator=draw, device=device)
    shape, frames = (clips, 3, 16, side, side), None
    if video:
        frames = torch.randint(0, 256, shape, generator=draw, device=device, dtype=torch.uint8)
    number = torch.arange(clips, device=device)
    return Batch(
        mel=normal(clips, WINDOW) if waveform else normal(clips, 128, 768),
        video=frames,
        label=number % 2.0,
        fake_modalities=number[:, None] % 2.0 * torch.tensor([1.0, 0.0], device=device),
        audio_class=number % 2 * 3,
        shape=normal(clips, FRAMES, SHAPE) if video else None,
    )


class Source:
    """Endless batches on the device, in the released form or in ours, these with mouth shapes if asked to.

    `bytes_read` of a clip, as the system counts them. Ours stay in `place` once they have been read.
    """

    def __init__(
        self,
        folder: Path,
        batch: int,
        workers: int,
        device: torch.device,
        *,
        video: bool,
        released: bool,
        shape: bool = False,
        side: int = FACE_SIZE,
        place: Place = "disk",
        decode: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        before = _bytes_read()
        if released:
            arrays = Arrays(folder / "arrays", video=video)
            arrays[0]
            epoch: Iterable[Any] = DataLoader(
                arrays,
                batch,
                shuffle=True,
                num_workers=workers,
                collate_fn=stack,
                drop_last=True,
                persistent_workers=workers > 0,
            )
            read = itertools.chain.from_iterable(itertools.repeat(epoch))
            batches = (to_device(batch, device) for batch in read)
        else:
            store = ElementStore(folder / "elements")
            elements = ElementSet(store, store.metas, Inputs(side if video else None, AUGMENT, shape=shape))
            before = _bytes_read()  # without the index
            elements.raw([0], reads_on(elements, device))
            order = Shared(Shuffled(len(store), batch, 0))
            decoder = choose_decoder("cpu" if decode == "cpu" else "auto", device, place, elements)
            if decode == "cuda" and not decoder.on_device:
                raise RuntimeError(f"frames cannot be decoded on the GPU{decoder.words}")
            epoch = Batches(elements, order, device, workers=workers, place=place, decoder=decoder)
            batches = (batch for _, batch in itertools.chain.from_iterable(itertools.repeat(epoch)))
        self.bytes_read = _bytes_read() - before
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)


class Arrays(Dataset[Batch]):
    """NUMBER.mel.npy (128, 768) z-scored and NUMBER.video.npy (3, 16, 224, 224) normalised, both float32."""

    def __init__(self, folder: Path, *, video: bool) -> None:
        self.folder, self.video = folder, video
        self.count = len(list(folder.glob("*.mel.npy")))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        mel = torch.from_numpy(np.load(self.folder / f"{number}.mel.npy"))
        video = torch.from_numpy(np.load(self.folder / f"{number}.video.npy")) if self.video else torch.zeros(())
        label = torch.tensor(number % 2.0)
        return Batch(mel, video, label, torch.stack([label, torch.zeros(())]), torch.tensor(number % 2 * 3))


def write_data(folder: Path, clips: int, *, video: bool, side: int = FACE_SIZE) -> Path:
    """Write the same number of clips in both forms: noise as audio and, with `video`, noisy blocks as frames.

    `side` is that of the released form's frames.
    """
    rng = np.random.default_rng(0)
    blocks = (FACE_SIZE // 8, FACE_SIZE // 8, 3)
    coarse = (np.kron(rng.integers(0, 256, blocks), np.ones((8, 8, 1))) for _ in range(4))
    frames = [np.clip(x + rng.normal(0, 1, x.shape), 0, 255).astype(np.uint8) for x in coarse]
    points = encode_landmarks(rng.uniform(0, FACE_SIZE, (FRAMES, len(USED), 3)))
    floats = rng.standard_normal((3, 16, side, side), np.float32)
    jpegs = [encode_frame(frame, 95) for frame in frames]
    arrays = folder / "arrays"
    arrays.mkdir(parents=True)
    with ElementWriter(folder / "elements", {"made": "up"}) as writer:
        for number in range(clips):
            name = ("RVRA", "RVFA")[number % 2]
            source = f"{tier(name).folder}/Asian/men/id{number:05d}/00000.mp4"
            clip = {"tier": name, "identities": [f"id{number:05d}"], "source": source, "base": source, "method": ""}
            clip |= {"race": "Asian", "gender": "men", "sha256": source}
            parts = encode_audio(rng.uniform(-0.5, 0.5, WINDOW))
            np.save(arrays / f"{number}.mel.npy", rng.standard_normal((128, 768), np.float32))
            if video:
                parts["mjpeg"] = b"".join(jpegs[i] for i in rng.integers(0, len(jpegs), FRAMES))
                parts[LANDMARKS] = points
                np.save(arrays / f"{number}.video.npy", floats)
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": parts}])
    return folder


def _bytes_read() -> int:
    """Return the bytes that this process has read from the system so far."""
    return int(Path("/proc/self/io").read_text().split()[1])
