"""What a person sees of a result: tables, figures, progress, and files, whole or not there."""

from keras_roots.reporting import figures, numbers
from keras_roots.reporting.files import (
    refuse_contents,
    refuse_existing,
    replacing,
    replacing_folder,
    require_place,
    require_writable,
    results_folder,
    write_json,
    write_text,
)
from keras_roots.reporting.progress import Lines, Progress, duration, silent
from keras_roots.reporting.records import checked, read_rows, write_rows
from keras_roots.reporting.tables import Table, csv_text, read_csv, write_csv

__all__ = [
    "Lines",
    "Progress",
    "Table",
    "checked",
    "csv_text",
    "duration",
    "figures",
    "numbers",
    "read_csv",
    "read_rows",
    "refuse_contents",
    "refuse_existing",
    "replacing",
    "replacing_folder",
    "require_place",
    "require_writable",
    "results_folder",
    "silent",
    "write_csv",
    "write_json",
    "write_rows",
    "write_text",
]
