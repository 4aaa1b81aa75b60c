"""Elements: windows of clips, packed into tar shards with an index.

A store is a folder of

    store.json           version and settings of the preprocessing, and in how many parts it is made
    shard-PPP-NNNNN.tar  WebDataset shards of part PPP: KEY.json (metadata) and, of these, what the settings keep:
                         KEY.wav (16 kHz, 16 bit), KEY.mel.npy (float32), KEY.mel_err.npy (float32),
                         KEY.mjpeg (77 JPEG frames, which FFmpeg plays)
    journal-PPP.jsonl    what part PPP has: a line per source, and where in the shards its windows are, to the frame
    index.arrow          the journals of all parts as columns, which readers map into memory

so that a reader gets the frames it wants with a few positioned reads, and other tools read the shards as they are.

layout  names and settings      form   arrays <-> members     journal  records of a part, on disk
writer  makes a part            index  journals -> columns    table    columns as metadata      store  reads
"""

from avdfd.elements.form import Element, ElementMeta, pack, unpack
from avdfd.elements.store import ElementStore
from avdfd.elements.table import Coded, ElementTable, coded
from avdfd.elements.writer import ElementWriter

__all__ = [
    "Coded",
    "Element",
    "ElementMeta",
    "ElementStore",
    "ElementTable",
    "ElementWriter",
    "coded",
    "pack",
    "unpack",
]
