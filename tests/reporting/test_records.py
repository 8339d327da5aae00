import dataclasses

import pytest

from keras_roots.reporting import checked, read_rows, write_rows


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    images: int
    top1: float
    loss: float | None = None


ROWS = [Row("a,b", 3, 1 / 3), Row("", 0, 0.0, 1e-300)]


def test_rows_that_are_written_are_read(tmp_path):
    write_rows(tmp_path / "a.csv", Row, ROWS)
    assert read_rows(tmp_path / "a.csv", Row, "a test") == ROWS
    assert read_rows(tmp_path / "missing.csv", Row, "a test") == []


@pytest.mark.parametrize(
    "text",
    ["name,images\na,1\n", "name,images,top1,more\na,1,1,1\n", "name,images,top1\na,1\n",
     "name,images,top1\na,1.5,1\n"],
)  # fmt: skip
def test_rows_of_another_kind(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv' is not as a test wrote it"):
        read_rows(tmp_path / "a.csv", Row, "a test")


def test_what_json_gave():
    values = {"name": "a", "images": 1, "top1": 1, "loss": None}
    assert checked(Row, {**values, "more": 2}) == Row("a", 1, 1)
    assert checked(Row, values, loss=2.0) == Row("a", 1, 1, 2.0)
    for name, wrong in (("name", 1), ("images", True), ("images", 1.5), ("top1", float("nan"))):
        with pytest.raises(ValueError, match=f"a record's {name} is"):
            checked(Row, {**values, name: wrong})
    with pytest.raises(ValueError, match="a record's loss is None"):
        checked(Row, {name: value for name, value in values.items() if name != "loss"})
