"""Storage forms of an element: bytes per element, and elements read per second on one core, cold and warm.

    python benchmarks/element_forms.py --store data/demo/elements [--count 60] [--work FOLDER]

Elements of an existing store are written in every form. A read returns the mel and 16 of the frames, or the mel and
all 77. Cold: the files are first dropped from the kernel's cache, so they come from the disk under --work.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import Element, ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.features.window import FRAMES

ALL = list(range(FRAMES))
Reader = Callable[[int, Sequence[int]], tuple[np.ndarray, np.ndarray]]


class Form(NamedTuple):
    """`write(folder, elements)` writes files; `reader(folder)` returns read(number, frames) -> mel, frames."""

    name: str
    write: Callable[[Path, list[Element]], None]
    reader: Callable[[Path], Reader]


def main() -> None:
    cli = argparse.ArgumentParser(description="Storage forms of an element.")
    cli.add_argument("--store", default="data/demo/elements")
    cli.add_argument("--count", type=int, default=60)
    cli.add_argument("--work", help="folder on the disk to measure (default: the system's for temporary files)")
    args = cli.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    store = ElementStore(args.store)
    chosen = store.metas[:: max(1, len(store) // args.count)][: args.count]
    elements = [off_grid(store.read(meta.key, waveform=True, frames=ALL)) for meta in chosen]
    print(f"{len(elements)} elements of {args.store}; elements/s on one core\n")
    print(f"{'':34s}{'MB per':>8s}{'16 frames':>18s}{'77 frames':>18s}{'PSNR':>8s}")
    print(f"{'form':34s}{'element':>8s}{'cold':>9s}{'warm':>9s}{'cold':>9s}{'warm':>9s}{'dB':>8s}")
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        for number, form in enumerate(FORMS):
            measure(form, Path(work) / str(number), elements)


def off_grid(element: Element) -> Element:
    """Shift the frames against the blocks of the JPEG they come from, which would otherwise favour JPEG."""
    return replace(element, frames=np.roll(element.frames, (3, 5), axis=(1, 2)))


def measure(form: Form, folder: Path, elements: list[Element]) -> None:
    folder.mkdir()
    form.write(folder, elements)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    cells = []
    for frames in (FRAME_CHOICE, ALL):
        if form.name.startswith("released") and frames is ALL:
            cells += ["-", "-"]
            continue
        for cold in (True, False):
            if cold:
                forget(folder)
            cells.append(f"{rate(form.reader(folder), len(elements), frames):.0f}")
    mel, frames_read = form.reader(folder)(0, FRAME_CHOICE)
    assert mel.shape == (128, 768)
    quality = "-" if frames_read.dtype != np.uint8 else psnr(frames_read, elements[0].frames[FRAME_CHOICE])
    row = "".join(f"{cell:>9s}" for cell in cells)
    print(f"{form.name:34s}{size / len(elements) / 1e6:8.2f}{row}{quality:>8s}", flush=True)


def rate(read: Reader, count: int, frames: Sequence[int]) -> float:
    order = np.random.default_rng(0).permutation(count)
    started = time.perf_counter()
    for number in order:
        read(int(number), frames)
    return count / (time.perf_counter() - started)


def forget(folder: Path) -> None:
    """Flush the files and drop them from the kernel's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def psnr(a: np.ndarray, b: np.ndarray) -> str:
    error = np.mean((a.astype(float) - b) ** 2)
    return "exact" if error == 0 else f"{10 * np.log10(255**2 / error):.1f}"


# ---- the store: tar shards with JPEG frames


def write_store(quality: int) -> Callable[[Path, list[Element]], None]:
    def write(folder: Path, elements: list[Element]) -> None:
        with ElementWriter(folder / "store", {"jpeg": quality}) as writer:
            for number, element in enumerate(elements):
                jpegs = b"".join(encode_frame(frame, quality) for frame in element.frames)
                window = {"start": 0.0, "end": 3.072, "parts": {**encode_audio(element.waveform), "mjpeg": jpegs}}
                writer.add(clip(f"{number:05d}"), [window])

    return write


def clip(source: str) -> dict[str, Any]:
    known = {"tier": "RVRA", "identities": ["id00000"], "source": f"RealVideo-RealAudio/Asian (East)/men/{source}"}
    return {**known, "base": source, "method": "real", "race": "Asian (East)", "gender": "men", "sha256": "0" * 64}


def read_store(folder: Path) -> Reader:
    store = ElementStore(folder / "store")

    def read(number: int, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        element = store.read(store.metas[number].key, frames=frames)
        return element.mel, element.frames

    return read


# ---- a pair of .npy files: as released (16 float frames), or all frames as bytes


def write_arrays(kind: type, frames: Sequence[int]) -> Callable[[Path, list[Element]], None]:
    def write(folder: Path, elements: list[Element]) -> None:
        for number, element in enumerate(elements):
            np.save(folder / f"{number}.mel.npy", element.mel)
            chosen = element.frames[frames]
            np.save(folder / f"{number}.frames.npy", chosen.astype(kind) / 255 if kind is np.float32 else chosen)

    return write


def read_arrays(folder: Path) -> Reader:
    def read(number: int, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        mel = np.load(folder / f"{number}.mel.npy")
        images = np.load(folder / f"{number}.frames.npy", mmap_mode="r")
        return mel, np.array(images) if len(images) <= len(frames) else images[list(frames)]

    return read


# ---- a video file per element, and the mel


def write_video(codec: str, pix_fmt: str, options: dict[str, str]) -> Callable[[Path, list[Element]], None]:
    def write(folder: Path, elements: list[Element]) -> None:
        for number, element in enumerate(elements):
            np.save(folder / f"{number}.mel.npy", element.mel)
            with av.open(str(folder / f"{number}.mkv"), "w") as container:
                stream = container.add_stream(codec, rate=25, options=options)
                stream.height, stream.width = element.frames.shape[1:3]
                stream.pix_fmt = pix_fmt
                for frame in element.frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
                container.mux(stream.encode())

    return write


def read_video_file(intra: bool) -> Callable[[Path], Reader]:
    def reader(folder: Path) -> Reader:
        def read(number: int, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
            mel = np.load(folder / f"{number}.mel.npy")
            wanted = set(frames)
            with av.open(io.BytesIO((folder / f"{number}.mkv").read_bytes())) as container:
                container.streams.video[0].thread_count = 1
                packets = container.demux(video=0)
                # In an intra-only stream the other packets need not be decoded.
                chosen = (p for k, p in enumerate(packets) if not intra or k in wanted or p.dts is None)
                decoded = [frame for packet in chosen for frame in packet.decode()]
            kept = decoded if intra else [frame for k, frame in enumerate(decoded) if k in wanted]
            return mel, np.stack([frame.to_ndarray(format="rgb24") for frame in kept])

        return read

    return reader


FORMS = (
    Form("released: float32 .npy, 16 frames", write_arrays(np.float32, FRAME_CHOICE), read_arrays),
    Form("uint8 .npy", write_arrays(np.uint8, ALL), read_arrays),
    Form("tar, JPEG 95 4:4:4 (the store)", write_store(95), read_store),
    Form("tar, JPEG 90 4:4:4", write_store(90), read_store),
    Form("FFV1", write_video("ffv1", "bgr0", {"g": "1"}), read_video_file(intra=True)),
    Form(
        "H.264 intra, crf 12, 4:4:4", write_video("libx264", "yuv444p", {"crf": "12", "g": "1"}), read_video_file(True)
    ),
    Form("H.264, crf 12, 4:4:4", write_video("libx264", "yuv444p", {"crf": "12"}), read_video_file(intra=False)),
)


if __name__ == "__main__":
    main()
