import csv

import pytest

from keras_roots.reporting import Table, csv_text, read_csv, write_csv


def test_rows_that_are_written_are_read(tmp_path):
    path = tmp_path / "a.csv"
    rows = [{"name": 'a, "b"', "value": 1 / 3, "none": None}, {"name": "c", "value": 2, "none": 0}]
    write_csv(path, rows)
    assert read_csv(path) == [
        {"name": 'a, "b"', "value": repr(1 / 3), "none": ""},
        {"name": "c", "value": "2", "none": "0"},
    ]
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["name", "value", "none"]
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_of_no_rows_has_its_header(tmp_path):
    assert csv_text([], ["a", "b"]) == "a,b\r\n"
    (tmp_path / "a.csv").write_text(csv_text([], ["a", "b"]))
    assert read_csv(tmp_path / "a.csv") == []


def test_what_is_no_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("a\n" + "x" * (csv.field_size_limit() + 1))
    with pytest.raises(ValueError, match="field larger"):
        read_csv(tmp_path / "a.csv")


def test_a_table_in_its_three_forms():
    table = Table(("name", "n", "n"), [("a", "1,000", "2")], footer=[("all", "1,000", "")])
    assert table.text().splitlines() == [
        *("name      n  n", "--------------", "a     1,000  2", "--------------", "all   1,000")
    ]
    assert table.markdown().splitlines()[:2] == ["| name |     n | n |", "|------|------:|--:|"]
    assert table.csv() == "name,n,n\r\na,1000,2\r\nall,1000,\r\n"
