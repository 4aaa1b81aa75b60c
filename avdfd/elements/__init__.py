"""Store of elements: windows of clips, or whole clips, packed into tar shards with an index.

A store is a folder of

    store.json           version and settings of the preprocessing, number of parts; once the store is whole, size and
                         checksum of the index and of every journal
    shard-PPP-NNNNN.tar  WebDataset shards of part PPP: KEY.json (metadata) and those of these members that the
                         settings keep: KEY.wav (16 kHz, 16 bit), KEY.mel.npy (float32), KEY.mel_err.npy (float32),
                         KEY.mjpeg (concatenated JPEG frames, 77 of a window, playable by FFmpeg), KEY.landmarks.npy
                         (71 points of the face mesh in each frame: x, y, depth in 1/64 pixel, int16)
    journal-PPP.jsonl    records of part PPP: one line per source, with the byte offsets and checksums of its windows
                         and frames, and a CRC-32 of the line
    index.arrow          journals of all parts as columns, memory-mapped by readers

A reader gets single frames with a few positioned reads; other WebDataset tools can read the shards, too.

layout  file names, store.json    form   arrays <-> members of a shard
writer  writes one part           index  journals -> columns
table   columns as metadata       store  reads elements
verify  checks whole stores
"""

from avdfd.elements.form import Element, ElementMeta, pack, unpack
from avdfd.elements.store import ElementStore
from avdfd.elements.table import Coded, ElementTable, coded, fake_seconds, times, window_labels
from avdfd.elements.writer import ElementWriter

__all__ = [
    "Coded",
    "Element",
    "ElementMeta",
    "ElementStore",
    "ElementTable",
    "ElementWriter",
    "coded",
    "fake_seconds",
    "pack",
    "times",
    "unpack",
    "window_labels",
]
