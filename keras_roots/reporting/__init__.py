"""What a person sees of a result: tables, figures, progress, and files, whole or not there."""

from keras_roots.reporting import figures
from keras_roots.reporting.files import (
    refuse_contents,
    refuse_existing,
    replacing,
    replacing_folder,
    require_writable,
    results_folder,
)
from keras_roots.reporting.progress import Progress, duration, silent
from keras_roots.reporting.tables import Table

__all__ = [
    "Progress",
    "Table",
    "duration",
    "figures",
    "refuse_contents",
    "refuse_existing",
    "replacing",
    "replacing_folder",
    "require_writable",
    "results_folder",
    "silent",
]
