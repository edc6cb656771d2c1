"""The servers answer, each in its way."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.exceptions
import pytest
import redis

from servers.process import LEASH, ServerFailedError, answers, running, wait_until
from servers.sharing import is_held, shared, sweep

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server
    from servers.tls import Authority

TESTS = str(Path(__file__).parents[1])


@pytest.mark.asks("redis")
@pytest.mark.parametrize("way", ["valkey_url", "valkey_tls_url", "valkey_socket_url"])
def test_valkey_is_empty_and_keeps_a_value(way: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(way)
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0
        client.set("key", b"value")
        assert client.get("key") == b"value"


def test_valkey_knows_users(valkey_users: dict[str, str]) -> None:
    with redis.Redis.from_url(valkey_users["full"]) as client:
        client.set("key", b"value")
    with redis.Redis.from_url(valkey_users["reader"]) as client:
        assert client.get("key") == b"value"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("key", b"other")
    with redis.Redis.from_url(valkey_users["stranger"]) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.get("key")


def test_cluster_serves_keys_of_every_node(valkey_cluster_url: str, valkey_nodes: list[int]) -> None:
    with redis.RedisCluster.from_url(valkey_cluster_url) as client:
        for number in range(100):
            client.set(f"key-{number}", number)
        sizes = [client.dbsize(target_nodes=node) for node in client.get_nodes()]
        client.disconnect_connection_pools()
    assert len(sizes) == len(valkey_nodes) == 3
    assert all(sizes)
    assert sum(sizes) == 100


def test_azurite_gives_an_empty_container(azurite: AzureAccount) -> None:
    with azurite.client() as client:
        assert list(client.list_blobs()) == []
        client.upload_blob("name", b"bytes").close()
        assert client.download_blob("name").readall() == b"bytes"


@pytest.mark.asks("s3")
@pytest.mark.parametrize("kind", ["s3_server", "s3_https_server", "s3_auth_server"])
def test_s3_gives_an_empty_bucket(kind: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(kind)
    client = server.client()
    assert client.list_objects_v2(Bucket=server.bucket)["KeyCount"] == 0
    client.put_object(Bucket=server.bucket, Key="key", Body=b"bytes")
    assert client.get_object(Bucket=server.bucket, Key="key")["Body"].read() == b"bytes"
    client.close()


def test_s3_with_authentication_refuses_a_wrong_secret(s3_auth_server: S3Server) -> None:
    client = s3_auth_server.with_secret("wrong").client()
    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        client.list_objects_v2(Bucket=s3_auth_server.bucket)
    client.close()


def test_https_needs_the_authority(s3_https_server: S3Server, authority: Authority) -> None:
    with urllib.request.urlopen(s3_https_server.endpoint_url, context=authority.client_context) as answer:
        assert answer.status == 200
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(s3_https_server.endpoint_url, context=ssl.create_default_context())


def test_a_server_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "raise SystemExit('no such option')")
    with pytest.raises(ServerFailedError, match="no such option"), running("broken", lambda _: broken, tmp_path):
        pass


SHARING = """
import sys, time
from servers.sharing import shared

def test_it(pytestconfig):
    start = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")
    port, said = shared(pytestconfig, "files", lambda port: (*start, str(port)), prepare=lambda port: f"on {port}")
    assert said == f"on {port}"
    with open("ports", "a") as ports:
        ports.write(f"{port}\\n")
    time.sleep(300)
"""


@pytest.mark.asks("s3")
def test_processes_of_a_run_share_a_server_which_ends_when_the_run_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = tmp_path / "ports"
    ports.touch()
    (tmp_path / "test_shared.py").write_text(SHARING)
    plugins = ("-p", "no:asyncio", "-p", "servers.sharing")
    command = [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", "-n", "2", "--dist", "each", str(tmp_path)]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": TESTS, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        try:
            wait_until(lambda: len(ports.read_text().split()) == 2, "both processes")
            [port] = {int(line) for line in ports.read_text().split()}
            assert answers(port)
        finally:
            os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: not answers(port), "the end of the server")
    [folder] = tmp_path.glob("aiofs-servers-*")
    wait_until(lambda: not is_held(folder), "the end of its leash")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sweep()  # as the next run does
    assert not folder.exists()


def test_a_shared_server_that_fails_says_what_it_printed(pytestconfig: pytest.Config) -> None:
    failing = (sys.executable, "-c", "raise SystemExit('no room left')")
    with pytest.raises(ServerFailedError, match="failing did not start:\nno room left"):
        shared(pytestconfig, "failing", lambda _port: failing)


def test_a_server_ends_with_its_keeper() -> None:
    endless = "import signal; print('up', flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, LEASH, sys.executable, "-c", endless], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"up\n"
        assert keeper.stdin is not None
        keeper.stdin.close()
        # The server shares its keeper's standard output: its end is the end of both.
        assert keeper.stdout.read() == b""
        assert keeper.wait() != 0
