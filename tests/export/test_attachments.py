"""Labels and metadata at the end of a file, which its own readers do not see."""

import zipfile

import pytest

from keras_roots.export import attachments


def test_what_is_attached_is_read_and_the_content_stays(tmp_path):
    path = tmp_path / "model.tflite"
    content = bytes(range(256)) * 10
    path.write_bytes(attachments.attach(content, {"name": "nin"}, ["cat", "dög"]))
    assert path.read_bytes().startswith(content)
    assert attachments.read(path) == ({"name": "nin"}, ("cat", "dög"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["metadata.json", "labels.txt"]
        assert archive.read("labels.txt").decode() == "cat\ndög\n"
    assert attachments.attach(content, {}, None) == attachments.attach(content, {}, None)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_files_of_others_have_none(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert attachments.read(path) == ({}, None)


def test_archives_with_other_files_or_broken_ones(tmp_path):
    path = tmp_path / "model.tflite"
    for name, text in (("other.txt", "x"), ("metadata.json", "{"), ("metadata.json", "[1]")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, text)
        assert attachments.read(path)[0] == {}
