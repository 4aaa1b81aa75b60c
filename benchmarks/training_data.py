"""Generated clips for `training_speed.py`, in the form the released code reads and in ours."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from avdfd.config import AugmentConfig
from avdfd.core.tiers import tier
from avdfd.datasets.batches import Batches, reads_on
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, stack, to_device
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.features.window import FACE_SIZE, FRAMES, WINDOW

AUGMENT = AugmentConfig(flip=0.5, grayscale=0.5)


def made_up(clips: int, device: torch.device) -> Batch:
    draw = torch.Generator().manual_seed(0)
    batch = Batch(
        mel=torch.randn(clips, 128, 768, generator=draw),
        video=torch.randint(0, 256, (clips, 3, 16, FACE_SIZE, FACE_SIZE), generator=draw, dtype=torch.uint8),
        label=torch.arange(clips) % 2.0,
        fake_modalities=torch.arange(clips)[:, None] % 2.0 * torch.tensor([1.0, 0.0]),
        audio_class=torch.arange(clips) % 2 * 3,
    )
    return to_device(batch, device)


class Source:
    """Endless batches on the device, in the released form or in ours.

    `bytes_read` of a clip, as the system counts them.
    """

    def __init__(
        self, folder: Path, batch: int, workers: int, device: torch.device, *, video: bool, released: bool
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
            elements = ElementSet(store, store.metas, Inputs(FACE_SIZE if video else None, AUGMENT))
            before = _bytes_read()  # without the index
            elements.raw([0], reads_on(elements, device))
            epoch = Batches(elements, Shared(Shuffled(len(store), batch, 0)), device, workers=workers)
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


def write_data(folder: Path, clips: int, *, video: bool) -> Path:
    """Write the same number of clips in both forms: noise as audio and, with `video`, noisy blocks as frames."""
    rng = np.random.default_rng(0)
    side = FACE_SIZE // 8
    coarse = (np.kron(rng.integers(0, 256, (side, side, 3)), np.ones((8, 8, 1))) for _ in range(4))
    frames = [np.clip(x + rng.normal(0, 1, x.shape), 0, 255).astype(np.uint8) for x in coarse]
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
                floats = rng.standard_normal((3, 16, FACE_SIZE, FACE_SIZE), np.float32)
                np.save(arrays / f"{number}.video.npy", floats)
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": parts}])
    return folder


def _bytes_read() -> int:
    """Return the bytes that this process has read from the system so far."""
    return int(Path("/proc/self/io").read_text().split()[1])
