"""The web interface as `make ui` starts it: a backfill of both sample crawls, then what the pages show of it.

One server for all tests here. The first half asks its GraphQL endpoint; the second looks at the pages in headless
Chromium and is skipped where there is none. Screenshots go to the folder ARTEFACTS (default `artefacts`); with
README_IMAGES=docs/images those of the README are written anew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.capture import CaptureManager
from curation import FIRST, RECIPE, SECOND, name_of
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright

from assets.analytics import PREVIEW_ROWS
from corpus_dagster.lake import Dataset, Lake

pytestmark = pytest.mark.ui

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "dagster dev -w workspace.yaml -h 127.0.0.1 -p"
"""The line of `make ui`, up to the port."""

STAGES = ("warc_files", "documents", "filtered", "duplicates", "quality", "curated", "removed", "statistics")

START_SECONDS = 120
"""Nine seconds are usual; a loaded machine with cold caches takes longer."""

BACKFILL_SECONDS = 600
"""Three to four minutes are usual on two cores: half is the daemon's tick of 30 s between the phases of the graph."""

STOP_SECONDS = 30
PAGE_MILLISECONDS = 30_000

README_BYTES = 200_000
"""An image that everybody clones stays below this."""

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Answer = dict[str, Any]


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.5) -> Any:
    """The condition's first true value.

    Raises:
        TimeoutError: it stayed false.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise TimeoutError(f"{what}: not within {seconds} s")


@dataclass
class Server:
    """A running web interface with its daemon, and the lake its runs write to."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    @property
    def lake(self) -> Lake:
        return Lake.at(self.folder / "lake")

    def dataset(self, stage: str, crawl: str | None) -> Dataset:
        return self.lake.require(name_of(stage), crawl)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-4000:]

    def ask(self, query: str, **variables: Any) -> Answer:
        """Data of a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def is_up(self) -> bool:
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log()}"
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, TimeoutError):
            return False

    def processes(self) -> dict[int, str]:
        """The server's processes that are alive, and their commands: it leads a process group of its own."""
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
        return {
            int(pid): command[0] if command else ""
            for pid, group, state, *command in rows
            if int(group) == self.process.pid and not state.startswith("Z")
        }

    def stop(self) -> dict[int, str]:
        """Ask it to end, and end what has not; returns what had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.processes() and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.2)
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        return left


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path) -> Server:
    """The line of `make ui` with storage in a folder of its own."""
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "deploy" / "dagster.local.yaml", home / "dagster.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CORPUS_", "DAGSTER_"))}
    environment |= {
        "DAGSTER_HOME": str(home),
        "CORPUS_LAKE": str(folder / "lake"),
        "CORPUS_WORK": str(folder / "work"),
        "PYTHONWARNINGS": "ignore",
    }
    port = free_port()
    program, *arguments = COMMAND.split()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *arguments, str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell ignores SIGINT in what it starts in the background, and Dagster then ignores SIGTERM too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    return Server(process, f"http://127.0.0.1:{port}", folder)


@pytest.fixture(scope="module")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints at once: minutes without a word look like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert isinstance(capture, CaptureManager)
    begun = time.monotonic()

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {time.monotonic() - begun:4.0f} s  {line}", end="", flush=True)

    return tell


@pytest.fixture(scope="module")
def server(tell: Callable[[str], None]) -> Iterator[Server]:
    # Not below pytest's folder: the pages show where data lie, and its names are long.
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        yield from serve(Path(folder), tell)


def serve(folder: Path, tell: Callable[[str], None]) -> Iterator[Server]:
    """A running server, ended with all its processes whatever happens."""
    server = start(folder)
    try:
        wait_until(server.is_up, START_SECONDS, "the web interface answers")
        wait_until(lambda: locations(server), START_SECONDS, "the definitions are loaded")
        tell(f"serving {server.url}")
        yield server
    finally:
        killed = server.stop()
        tell("stopped\n")
    assert killed == {}, "all processes end when the server is asked to"
    assert server.processes() == {}


def locations(server: Server) -> list[Answer]:
    """Code locations, once all are loaded."""
    query = """{workspaceOrError {... on Workspace {locationEntries {
        name loadStatus locationOrLoadError {__typename ... on PythonError {message}}}}}}"""
    entries = server.ask(query)["workspaceOrError"]["locationEntries"]
    return entries if entries and all(entry["loadStatus"] == "LOADED" for entry in entries) else []


LAUNCH = """
mutation ($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess {backfillId}
    ... on PythonError {message stack}
  }
}"""
BACKFILL = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill {
      status
      error {message}
      runs(limit: 100) {id status startTime endTime tags {key value} assetSelection {path}}
    }
  }
}"""


@pytest.fixture(scope="module")
def backfill(server: Server, tell: Callable[[str], None]) -> Answer:
    """Both crawls through every asset, launched as the page launches it."""
    nodes = server.ask("{assetNodes {assetKey {path} isExecutable}}")["assetNodes"]
    chosen = [{"path": node["assetKey"]["path"]} for node in nodes if node["isExecutable"]]
    parameters = {"assetSelection": chosen, "partitionNames": [FIRST, SECOND], "title": "both sample crawls"}
    launched = server.ask(LAUNCH, parameters=parameters)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    tell(f"backfill of {len(chosen)} assets for {FIRST} and {SECOND}")
    told: list[str] = []

    def finished() -> Answer | None:
        state = server.ask(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]
        statuses = Counter(run["status"] for run in state["runs"])
        line = ", ".join(f"{count} {status.lower()}" for status, count in sorted(statuses.items()))
        if line and line not in told[-1:]:
            told.append(line)
            tell(f"runs: {line}")
        return None if state["status"] in ("REQUESTED", "COMPLETED_WAITING") else state

    return wait_until(finished, BACKFILL_SECONDS, "the backfill ends", every=1)


def path_of(stage: str) -> list[str]:
    return name_of(stage).split("/")


def test_make_ui_runs_the_line_tested_here() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nui:")[2].partition("\n\n")[0]
    assert f"{COMMAND} $(PORT)" in recipe


def test_the_workspace_is_one_code_location_without_errors(server: Server) -> None:
    (location,) = locations(server)
    assert location["name"] == "corpus_dagster"
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation"


def test_the_daemon_runs(server: Server) -> None:
    query = "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"

    def healthy() -> bool:
        daemons = server.ask(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in daemons if daemon["required"])

    assert wait_until(healthy, START_SECONDS, "every daemon has reported")


def test_automation_is_off(server: Server) -> None:
    query = """{repositoriesOrError {... on RepositoryConnection {nodes {
        sensors {name sensorState {status}} schedules {name scheduleState {status}}}}}}"""
    (repository,) = server.ask(query)["repositoriesOrError"]["nodes"]
    states = {each["name"]: each["sensorState"]["status"] for each in repository["sensors"]}
    states |= {each["name"]: each["scheduleState"]["status"] for each in repository["schedules"]}
    assert {"missing_crawls", "published_crawls", "monthly_crawls"} <= states.keys()
    assert set(states.values()) == {"STOPPED"}


def test_the_backfill_succeeds_with_one_crawl_per_run(backfill: Answer, server: Server) -> None:
    failed = [run["id"] for run in backfill["runs"] if run["status"] != "SUCCESS"]
    assert (backfill["status"], failed) == ("COMPLETED_SUCCESS", []), f"{backfill['error']}\n{server.log()}"
    crawls: Counter[str] = Counter()
    for run in backfill["runs"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        start, end = (tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end"))
        assert start == end
        crawls[start] += 1
    # Up to the classifier, then after it; the classifier and analytics belong to no crawl.
    assert (crawls[FIRST], crawls[SECOND]) == (2, 2)


@pytest.mark.parametrize("stage", STAGES)
def test_every_crawl_of_an_asset_is_materialised(stage: str, backfill: Answer, server: Server) -> None:
    query = """query ($path: [String!]!) {assetNodeOrError(assetKey: {path: $path}) {... on AssetNode {
        partitionStats {numMaterialized numPartitions numFailed numMaterializing}}}}"""
    stats = server.ask(query, path=path_of(stage))["assetNodeOrError"]["partitionStats"]
    assert stats == {"numMaterialized": 2, "numPartitions": 2, "numFailed": 0, "numMaterializing": 0}


@pytest.mark.parametrize("crawl", [FIRST, SECOND])
@pytest.mark.parametrize("stage", STAGES)
def test_row_counts_and_versions_are_those_of_the_lake(
    stage: str, crawl: str, backfill: Answer, server: Server
) -> None:
    query = """query ($path: [String!]!, $crawl: String!) {assetNodeOrError(assetKey: {path: $path}) {... on AssetNode {
        assetMaterializations(partitions: [$crawl], limit: 1) {
            tags {key value} metadataEntries {label ... on IntMetadataEntry {intValue}}}}}}"""
    found = server.ask(query, path=path_of(stage), crawl=crawl)["assetNodeOrError"]["assetMaterializations"]
    numbers = {entry["label"]: entry.get("intValue") for entry in found[0]["metadataEntries"]}
    tags = {tag["key"]: tag["value"] for tag in found[0]["tags"]}
    dataset = server.dataset(stage, crawl)
    assert numbers["dagster/partition_row_count"] == dataset.rows() > 0
    assert tags["dagster/data_version"] == dataset.digest


def test_every_check_of_every_asset_passed(backfill: Answer, server: Server) -> None:
    query = """{assetNodes {assetKey {path} assetChecksOrError {... on AssetChecks {checks {
        name blocking executionForLatestMaterialization {status}}}}}}"""
    results = {
        ("/".join(node["assetKey"]["path"]), check["name"]): (check["executionForLatestMaterialization"] or {}).get(
            "status"
        )
        for node in server.ask(query)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }
    assert len(results) > 40
    assert {check: status for check, status in results.items() if status != "SUCCEEDED"} == {}


# From here on in the browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(CHROMIUM)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Looker:
    """A page of the browser on the server, with what it asked of other hosts and what it complained of."""

    page: Page
    server: Server
    foreign: list[str]
    errors: list[str]

    def open(self, address: str, *, width: int = 1440, height: int = 1000) -> Page:
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(f"{self.server.url}{address}")
        return self.page

    def keep(self, name: str, readme: FloatRect | None = None) -> None:
        """Keep a screenshot, and where asked for a part of it for the README."""
        folder = Path(os.environ.get("ARTEFACTS") or ROOT / "artefacts")
        self.page.screenshot(path=folder / f"{name}.png")
        if readme and os.environ.get("README_IMAGES"):
            image = ROOT / os.environ["README_IMAGES"] / f"{name}.png"
            self.page.screenshot(path=image, clip=readme)
            assert image.stat().st_size < README_BYTES


@pytest.fixture
def look(browser: Browser, server: Server, backfill: Answer) -> Iterator[Looker]:
    # Sharp on the dense screens that most people have.
    page = browser.new_page(device_scale_factor=1.5)
    page.set_default_timeout(PAGE_MILLISECONDS)
    expect.set_options(timeout=PAGE_MILLISECONDS)
    looker = Looker(page, server, [], [])

    def note_request(address: str) -> None:
        if not address.startswith((f"{server.url}/", "data:", "blob:", f"ws://{server.url.partition('//')[2]}/")):
            looker.foreign.append(address)

    page.on("request", lambda request: note_request(request.url))
    page.on("console", lambda message: looker.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: looker.errors.append(str(error)))
    yield looker
    page.close()
    assert looker.foreign == [], "the web interface asks no other host"
    assert looker.errors == []


def asset_page(stage: str, view: str, crawl: str | None = None) -> str:
    return f"/assets/{name_of(stage)}?view={view}" + (f"&partition={crawl}" if crawl else "")


def entry(page: Page, name: str) -> Locator:
    """The cell beside a metadata key."""
    return page.locator("tr").filter(has=page.get_by_text(name, exact=True)).last


@contextmanager
def opened(page: Page, name: str, link: str) -> Iterator[Locator]:
    """The dialogue behind a metadata entry that is too long to be shown at once."""
    entry(page, name).get_by_text(link, exact=True).click()
    dialogue = page.get_by_role("dialog").last
    expect(dialogue).to_be_visible()
    yield dialogue
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def assert_drawn(image: Locator) -> None:
    """An image that the browser could make sense of, at its own size or smaller."""
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    box = image.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 100


def expanded(*groups: str) -> str:
    """Address of the whole graph with some groups open."""
    return "/asset-groups?expanded=" + "%2C".join(f"global%40global%3A{group}" for group in groups)


def node(page: Page, name: str) -> Locator:
    """The asset of a name in a graph; a group may have the name too, and is drawn first."""
    return page.locator("foreignObject").filter(has=page.get_by_text(name, exact=True)).last


def test_lineage_shows_the_shared_assets_and_the_branch_of_the_recipe(look: Looker) -> None:
    page = look.open("/asset-groups", width=1800)
    page.get_by_text("Hide navigation", exact=True).first.click()
    # Tall, so that the controls in the corner stand clear of the graph.
    look.open(expanded("common_crawl", RECIPE), width=1800, height=1400)
    drawn = [node(page, path_of(stage)[-1]) for stage in ("common_crawl", *STAGES, "quality_model", "analytics")]
    for each in drawn:
        expect(each).to_be_visible()
    boxes = [box for each in drawn if (box := each.bounding_box())]
    lefts = [box["x"] for box in boxes]
    assert lefts.index(min(lefts)) == 0, "lineage starts at Common Crawl"
    assert lefts.index(max(lefts)) == len(lefts) - 1, "and ends at analytics"
    groups = page.locator("foreignObject").filter(has=page.get_by_text(RECIPE, exact=True)).first.bounding_box()
    assert groups is not None
    look.keep("ui-lineage", readme=around([*boxes, groups]))


def around(boxes: list[FloatRect], margin: float = 24) -> FloatRect:
    """The part of a page that holds some boxes."""
    left, top = (min(box[side] for box in boxes) - margin for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + margin
    bottom = max(box["y"] + box["height"] for box in boxes) + margin
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def test_a_node_of_the_lineage_tells_its_checks_and_partitions(look: Looker) -> None:
    page = look.open("/assets/warc_files?view=lineage")
    for stage, checks in (("warc_files", 1), ("documents", 3)):
        expect(node(page, stage)).to_contain_text(f"{checks} / {checks} Passed")
        expect(node(page, stage)).to_contain_text("100% filled")


def test_the_page_of_a_crawl_shows_counts_reasons_plot_and_schema(look: Looker) -> None:
    dataset = look.server.dataset("filtered", FIRST)
    totals = dataset.totals
    page = look.open(asset_page("filtered", "partitions", FIRST), height=1300)
    expect(entry(page, "dagster/partition_row_count")).to_contain_text(str(dataset.rows()))
    expect(entry(page, "kept")).to_contain_text(str(dataset.rows()))
    removed = sum(counts["documents"] for counts in totals["removed"].values())
    expect(entry(page, "removed")).to_contain_text(str(removed))
    reasons = entry(page, "removal_reasons")
    for reason in ("language", "word_count"):
        row = reasons.locator("tr").filter(has=page.get_by_text(reason, exact=True))
        expect(row).to_contain_text(f"{totals['removed'][reason]['documents']:,}")
    assert_drawn(page.get_by_alt_text("removed documents by reason"))
    look.keep("ui-partition", readme={"x": 0, "y": 0, "width": 1440, "height": 820})
    with opened(page, "dagster/column_schema", "[Show Table Schema]") as schema:
        for column in dataset.read(0).column_names:
            expect(schema.get_by_text(column, exact=True).first).to_be_visible()
        look.keep("ui-schema")


def test_the_page_of_checks_shows_that_they_passed(look: Looker) -> None:
    page = look.open(asset_page("filtered", "checks"))
    expect(page.get_by_text("Checks (4)", exact=True)).to_be_visible()
    for check in ("conservation", "keep_rate", "schema", "unique_ids"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(4)
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()
    expect(page.get_by_text("Every document that came in is kept or removed with a reason.")).to_be_visible()
    look.keep("ui-checks")


@pytest.mark.parametrize("crawl", [FIRST, SECOND])
def test_statistics_show_the_funnel_of_a_crawl(crawl: str, look: Looker) -> None:
    steps = look.server.dataset("statistics", crawl).read(0).to_pylist()
    page = look.open(asset_page("statistics", "partitions", crawl))
    expect(entry(page, "documents_kept")).to_contain_text(str(steps[-1]["documents_out"]))
    assert_drawn(page.get_by_alt_text("documents left after each rule"))
    look.keep(f"ui-statistics-{crawl}")
    with opened(page, "funnel", "[Show Markdown]") as funnel:
        expect(funnel.locator("tbody tr")).to_have_count(len(steps))
        last = funnel.locator("tbody tr").last
        expect(last).to_contain_text(steps[-1]["rule"])
        expect(last).to_contain_text(f"{steps[-1]['documents_out']:,}")
        look.keep(f"ui-funnel-{crawl}")


def test_the_overview_describes_the_asset_and_its_columns(look: Looker) -> None:
    page = look.open(asset_page("curated", "overview"), height=1600)
    expect(page.get_by_text("The corpus: duplicated paragraphs and documents gone", exact=False)).to_be_visible()
    for column in ("quality_score", "weight", "text"):
        expect(page.get_by_text(column, exact=True).first).to_be_visible()
    expect(page.get_by_role("link", name="missing_crawls")).to_be_visible()
    look.keep("ui-overview")


def test_a_mart_shows_its_first_rows(look: Looker) -> None:
    page = look.open("/assets/analytics/funnel?view=overview", height=1600)
    expect(page.get_by_text("Row count", exact=True)).to_be_visible()
    with opened(page, "preview", "[Show Markdown]") as rows:
        expect(rows.locator("tbody tr")).to_have_count(PREVIEW_ROWS)
        expect(rows.locator("tbody tr").first).to_contain_text(FIRST)
        look.keep("ui-mart")
