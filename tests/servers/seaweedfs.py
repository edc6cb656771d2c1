"""SeaweedFS's S3 server, which lists out of byte order: all its parts in one process, on free ports of the loopback."""

from __future__ import annotations

import json
import sysconfig
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.exceptions
import pytest

from servers.moto import SECRET, S3Server, with_bucket
from servers.process import HOST, free_port, wait_until
from servers.sharing import LITTER, folder_of, shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WEED = str(Path(sysconfig.get_path("scripts")) / "weed")
USER = "tester"
SOCKETS = Path("/tmp")
PARTS = ("master", "volume", "filer", "s3")
IDENTITIES = {
    "identities": [{"name": USER, "credentials": [{"accessKey": USER, "secretKey": SECRET}], "actions": ["Admin"]}]
}


class Starting:
    """How to start it in a folder; the run removes the sockets that it leaves elsewhere, named after its ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, port: int) -> Sequence[str]:
        """The command, with S3 on `port`, and nothing that is not needed."""
        data = self._folder / f"data-{port}"
        data.mkdir()
        users = self._folder / f"users-{port}.json"
        users.write_text(json.dumps(IDENTITIES))
        ports = {f"{part}.port": free_port() for part in PARTS} | {f"{part}.port.grpc": free_port() for part in PARTS}
        ports["s3.port"] = port
        with (self._folder / LITTER).open("a") as litter:
            for name, number in ports.items():
                part = name.replace(".port", "").replace(".", "-")
                litter.write(f"{SOCKETS}/seaweedfs-{part}-{number}.sock\n")
        return (
            *(WEED, "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={data}", "-s3", f"-s3.config={users}"),
            *("-master.volumeSizeLimitMB=64", "-volume.max=0", "-volume.preStopSeconds=0", "-master.telemetry=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
            *(f"-{name}={number}" for name, number in ports.items()),
        )


@pytest.fixture(scope="session")
def seaweedfs_endpoint(pytestconfig: pytest.Config) -> S3Server:
    """A server for the whole run."""
    starting = Starting(folder_of(pytestconfig, "seaweedfs"))
    port, _ = shared(pytestconfig, "seaweedfs", starting, prepare=_wait)
    return S3Server(f"http://{HOST}:{port}", USER)


@pytest.fixture
def seaweedfs(seaweedfs_endpoint: S3Server) -> Iterator[S3Server]:
    """A server with a fresh bucket."""
    yield from with_bucket(replace(seaweedfs_endpoint, lasting=True))


def _wait(port: int) -> None:
    wait_until(partial(_writes, S3Server(f"http://{HOST}:{port}", USER)), "SeaweedFS writes")


def _writes(server: S3Server) -> bool:
    """Whether all parts of it have found each other."""
    client = server.client()
    try:
        client.create_bucket(Bucket="first")
        client.put_object(Bucket="first", Key="key", Body=b"bytes")
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return False
    finally:
        client.close()
    return True
