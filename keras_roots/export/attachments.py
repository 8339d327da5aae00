"""What is attached to a file of one piece: labels and metadata, as a ZIP archive at its end.

Readers of TFLite files (and of JAX's exported functions) begin at the start and ignore what
follows, and readers of ZIP archives begin at the end: `unzip model.tflite` gives metadata.json and
labels.txt, and so does Python's `zipfile`. The files of TensorFlow Lite's own metadata are attached
in the same way.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METADATA, LABELS = "metadata.json", "labels.txt"
# Of every attachment, so that the same export gives the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def attach(
    content: bytes, metadata: Mapping[str, Any], labels: Sequence[str] | None = None
) -> bytes:
    """The content of a file with these at its end; `labels` one for each class."""
    stream = io.BytesIO(content)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts(metadata, labels).items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), text)
    return stream.getvalue()


def texts(metadata: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, str]:
    """The content of the files `METADATA` and, where there are labels, `LABELS`."""
    files = {METADATA: json.dumps(metadata, indent=1) + "\n"}
    if labels is not None:
        files[LABELS] = "".join(f"{label}\n" for label in labels)
    return files


def read(path: str | os.PathLike) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """Metadata and labels of a file; ({}, None) if it has none, whoever wrote it.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = {
                    name: archive.read(name).decode()
                    for name in (METADATA, LABELS)
                    if name in archive.namelist()
                }
            metadata = json.loads(found.get(METADATA, "{}"))
        # Whatever a broken archive, or one of others', leads the two readers to.
        except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError, zlib.error):
            return {}, None
    labels = found.get(LABELS)
    return (
        metadata if isinstance(metadata, dict) else {},
        None if labels is None else tuple(labels.splitlines()),
    )
