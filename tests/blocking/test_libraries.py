"""Libraries that know nothing of aiofs use its files as files, in memory and on a server."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING
from urllib.parse import quote

import pandas as pd
import pytest
from PIL import Image

import aiofs
from aiofs import blocking

if TYPE_CHECKING:
    from pathlib import Path

    from servers.moto import S3Server

ROWS = [["day", "total"], ["1", "42"], ["2", "17"]]
DATA = bytes(range(256)) * 5000


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.asks("s3"))])
def fs(request: pytest.FixtureRequest) -> blocking.BlockingFileSystem:
    if request.param == "memory":
        return aiofs.MemoryFileSystem().blocking
    return blocking.connect(s3_url(request, "libraries"))


def s3_url(request: pytest.FixtureRequest, path: str) -> str:
    """The URL of a path on the server, whose keys are in the environment."""
    server: S3Server = request.getfixturevalue("s3_server")
    environment = request.getfixturevalue("monkeypatch")
    environment.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    environment.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    environment.setenv("AWS_DEFAULT_REGION", server.region)
    return f"s3://{server.bucket}/{path}?endpoint_url={quote(server.endpoint_url, safe='')}"


def test_modules_of_python(fs: blocking.BlockingFileSystem, tmp_path: Path) -> None:
    with fs.open("rows.csv", "w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(ROWS)
    with fs.open("rows.csv", encoding="utf-8", newline="") as text:
        assert list(csv.reader(text)) == ROWS
    with fs.open("rows.json", "wt", encoding="utf-8") as text:
        json.dump(ROWS, text)
    with fs.open("rows.json") as reader:
        assert json.load(reader) == ROWS
    with fs.open("rows.pickle", "w") as file:
        pickle.dump(ROWS, file)
    with fs.open("rows.pickle") as reader:
        assert pickle.load(reader) == ROWS
    (tmp_path / "data").write_bytes(DATA)
    for mode, reading in (("w|gz", "r|gz"), ("w:xz", "r:xz")):
        with fs.open("all.tar", "w") as file, tarfile.open(fileobj=file, mode=mode) as archive:
            archive.add(tmp_path / "data", "data")
        with fs.open("all.tar") as reader, tarfile.open(fileobj=reader, mode=reading) as archive:
            members = [(member.name, archive.extractfile(member).read()) for member in archive]
            assert members == [("data", DATA)]
    with fs.open("data.gz", "w") as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
        shutil.copyfileobj(io.BytesIO(DATA), packed)
    with fs.open("data.gz") as reader, gzip.open(reader) as unpacked:
        assert unpacked.read() == DATA


def test_pillow(fs: blocking.BlockingFileSystem) -> None:
    with fs.open("picture.png", "w") as file:
        Image.new("RGB", (300, 200), "teal").save(file, "png")
    with fs.open("picture.png") as reader, Image.open(reader) as picture:
        assert picture.size == (300, 200)
        assert picture.getpixel((150, 100)) == (0, 128, 128)


def test_pandas(fs: blocking.BlockingFileSystem) -> None:
    table = pd.DataFrame({"day": range(1000), "total": [number**2 for number in range(1000)]})
    with fs.open("table.parquet", "w") as file:
        table.to_parquet(file)
    with fs.open("table.parquet") as reader:
        assert pd.read_parquet(reader).equals(table)
    with fs.open("table.csv", "w") as file:
        table.to_csv(file, index=False)
    with fs.open("table.csv", "rt", encoding="utf-8") as text:
        assert pd.read_csv(text).equals(table)


@pytest.mark.asks("s3")
def test_an_archive_by_its_url(request: pytest.FixtureRequest) -> None:
    url = s3_url(request, "archive.zip")
    with blocking.open(url, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", DATA)
    with blocking.open(url, "rb") as reader:
        assert isinstance(reader, io.BufferedReader)
        assert zipfile.ZipFile(reader).read("data") == DATA
    with blocking.open(s3_url(request, "text"), "w", encoding="utf-8") as text:
        assert isinstance(text, io.TextIOWrapper)
        text.write("text, as with the builtin")
    with blocking.open(s3_url(request, "text"), "rb+") as editor:
        assert isinstance(editor, io.BufferedRandom)
        editor.write(b"TEXT")
    with blocking.open(s3_url(request, "text"), encoding="utf-8") as text:
        assert text.read() == "TEXT, as with the builtin"
