"""What a person sees of a result: tables, figures, progress, and files, whole or not there."""

from keras_roots.reporting import figures
from keras_roots.reporting.files import (
    refuse_contents,
    refuse_existing,
    replacing,
    replacing_folder,
    require_writable,
    results_folder,
    write_json,
    write_text,
)
from keras_roots.reporting.progress import Progress, duration, silent
from keras_roots.reporting.tables import Table, csv_text, read_csv, write_csv

__all__ = [
    "Progress",
    "Table",
    "csv_text",
    "duration",
    "figures",
    "read_csv",
    "refuse_contents",
    "refuse_existing",
    "replacing",
    "replacing_folder",
    "require_writable",
    "results_folder",
    "silent",
    "write_csv",
    "write_json",
    "write_text",
]
