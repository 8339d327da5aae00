"""Random access to TFRecord files: where each record begins.

tf.data reads such files from the beginning on, which leaves an order at random
to a shuffle buffer, and going on at step n to reading n batches for nothing.
"""

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_HEADER = struct.Struct("<QI")  # A record's length and its checksum.
_FOOTER = 4  # The checksum of the record.


def offsets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where the records of a file begin, and their lengths, in bytes; none is read.

    Raises:
        ValueError: the file ends within a record.
    """
    found, lengths = [], []
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(_HEADER.size)
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else size
            found.append(position)
            lengths.append(length)
            position += _HEADER.size + length + _FOOTER
    if position != size:
        raise ValueError(f"'{path}' is no whole TFRecord file: it ends within a record.")
    return np.array(found, np.int64), np.array(lengths, np.int64)


def reader(shards: Sequence[tuple[Path, int, int]]):
    """Random access to some records of several files, one after the other.

    Args:
        shards: (file, records to leave out at its beginning, records to take).

    Returns:
        The number of records, and a function of an int64 tensor below it to
        the record, a string tensor.

    Raises:
        ValueError: a file holds fewer records, or is not whole.
    """
    import tensorflow as tf

    with ThreadPoolExecutor(16) as pool:  # It is the disk that takes its time.
        located = list(pool.map(offsets, [path for path, _, _ in shards]))
    files, starts, lengths = [], [], []
    for number, ((path, skip, take), (start, length)) in enumerate(
        zip(shards, located, strict=True)
    ):
        if len(start) < skip + take:
            raise ValueError(
                f"'{path}' is incomplete: it holds {len(start)} of {skip + take} records."
            )
        files.append(np.full(take, number))
        starts.append(start[skip : skip + take])
        lengths.append(length[skip : skip + take])
    names = tf.constant([str(path) for path, _, _ in shards])
    file_of, start_of, length_of = (
        tf.constant(np.concatenate(each), tf.int64) for each in (files, starts, lengths)
    )

    def read(index):
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[names[file_of[index]]],
            compression_type="",
            buffer_size=length_of[index] + _HEADER.size + _FOOTER,
            byte_offsets=[start_of[index]],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return records.take(1).get_single_element()

    return sum(take for _, _, take in shards), read
