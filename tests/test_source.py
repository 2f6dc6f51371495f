"""Reading files of a source: directory, HTTP with faults, S3."""

from __future__ import annotations

import http.server
import pickle
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus_dagster import source as module
from corpus_dagster.source import Source, SourceError, SourceRefusedError

DATA = random.Random(5).randbytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves one file by ranges; the first `faults` requests for a range fail with `fault`."""

    daemon_threads = True
    faults = 0
    fault = 503
    requests: list[str]
    running = 0
    most_running = 0
    lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
        try:
            self._answer(body=True)
        finally:
            with self.server.lock:
                self.server.running -= 1

    def _answer(self, *, body: bool) -> None:
        if not self.path.startswith("/crawl/file"):
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if body and asked:
            self.server.requests.append(asked.group())
            if self.server.faults:
                self.server.faults -= 1
                if self.server.fault == 0:
                    self.send_response(206)
                    self.send_header("Content-Length", "1000")
                    self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(DATA)}")
                    self.end_headers()
                    self.wfile.write(b"half")
                    self.close_connection = True
                else:
                    self.send_error(self.server.fault)
                return
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(DATA))
        part = DATA[start:end]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as instance:
        instance.requests = []
        thread = threading.Thread(target=instance.serve_forever, daemon=True)
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Delays asked for; none is waited."""
    asked: list[float] = []
    monkeypatch.setattr(module.time, "sleep", asked.append)
    monkeypatch.setattr(module, "CHUNK_BYTES", 64 << 10)
    return asked


def address(server: Server) -> Source:
    return Source.at(f"http://127.0.0.1:{server.server_port}/crawl")


def test_a_directory_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(DATA)
    source = pickle.loads(pickle.dumps(Source.at(tmp_path)))
    assert source.is_local
    assert source.read("a/file") == DATA
    assert source.size("a/file") == len(DATA)
    with source.open("a/file") as stream:
        stream.seek(1000)
        assert stream.read(10) == DATA[1000:1010]


def test_a_missing_file_is_refused_at_once(tmp_path: Path, server: Server, waits: list[float]) -> None:
    for source in (Source.at(tmp_path), address(server)):
        with pytest.raises(SourceRefusedError, match=r"none\.gz") as caught:
            source.open("none.gz")
        assert caught.value.retryable is False
    assert waits == []


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3://", "https://"])
def test_an_address_that_cannot_be_used_is_an_error(uri: str) -> None:
    with pytest.raises(ValueError, match="source"):
        Source.at(uri)


def test_options_stay_out_of_messages() -> None:
    assert "secret" not in repr(Source.at("s3://bucket", {"secret_access_key": "secret"}))


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("https://user:secret@host:8443/crawls/?key=secret", "https://host:8443/crawls/"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("folder", None),
    ],
)
def test_a_source_is_told_from_others_without_credentials(uri: str, identity: str | None) -> None:
    assert Source.at(uri).identity == identity


def test_a_remote_file_is_read_in_order_with_one_chunk_ahead(server: Server, waits: list[float]) -> None:
    source = pickle.loads(pickle.dumps(address(server)))
    with source.open("file") as stream:
        assert stream.read() == DATA
    assert server.requests == [f"bytes={i}-{min(i + 65536, len(DATA)) - 1}" for i in range(0, len(DATA), 65536)]
    assert server.most_running <= 2
    assert waits == []


def test_seeks_go_anywhere(server: Server, waits: list[float]) -> None:
    rng = random.Random(3)
    with address(server).open("file") as stream:
        for _ in range(40):
            at, size = rng.randrange(len(DATA)), rng.randrange(100_000)
            assert stream.seek(at) == at
            assert stream.read(size) == DATA[at : at + size]
        assert stream.seek(-5, 2) == len(DATA) - 5
        assert stream.read() == DATA[-5:]
        assert stream.read() == b""
    assert server.most_running <= 2


@pytest.mark.parametrize("fault", [429, 500, 503, 0])
def test_faults_are_tried_again_with_growing_delays(server: Server, waits: list[float], fault: int) -> None:
    server.faults, server.fault = 3, fault
    with address(server).open("file") as stream:
        assert stream.read() == DATA
    assert waits == [0.5, 1.0, 2.0]


def test_faults_without_end_are_one_clear_error(server: Server, waits: list[float]) -> None:
    server.faults = 10**6
    with (
        address(server).open("file") as stream,
        pytest.raises(SourceError, match=r"crawl/file at byte 0 .*8 attempts"),
    ):
        stream.read()
    assert waits == [0.5, 1, 2, 4, 8, 16, 30]


@pytest.mark.parametrize("from_environment", [False, True])
def test_a_bucket_is_read_by_ranges(
    waits: list[float], monkeypatch: pytest.MonkeyPatch, from_environment: bool
) -> None:
    """An endpoint without TLS needs no further option, wherever it is named."""
    moto = pytest.importorskip("moto.server")
    import boto3

    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    try:
        host, port = running.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=endpoint, **keys)
        client.create_bucket(Bucket="crawls")
        client.put_object(Bucket="crawls", Key="data/a/file", Body=DATA)
        options = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
        if from_environment:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        else:
            options["endpoint"] = endpoint
        module._store.cache_clear()
        source = Source.at("s3://crawls/data", options)
        assert source.read("a/file") == DATA
        with source.open("a/file") as stream:
            assert stream.read() == DATA
        with pytest.raises(SourceRefusedError, match="a/none"):
            source.open("a/none")
    finally:
        running.stop()
