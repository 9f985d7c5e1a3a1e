"""What benchmarks of the running server share: ratios are right, records are the server's own."""

import json
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.growth import BOUNDED, COUNTS, FLAT, REQUESTS
from benchmarks.machines import Legend
from benchmarks.serving.ratios import ratio_of_medians
from benchmarks.serving.records import START, fill
from benchmarks.tables.growth import growth_tables
from benchmarks.tables.load import WAITING, limit_of, load_tables
from pool.database.names import name_key
from pool.database.paging import page
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.setup import migrate
from pool.usecases.bootstrap import bootstrap
from tests.factories import organisation_of, postgres_database

REACHED = "| 1.04 (0.99 to 1.10) | 2.0 ms "
MACHINE = {"cpu": "c", "cores": 2, "threads": 1, "gpu": None, "system": "s", "torch": "t",
           "python": "p"}  # fmt: skip


def test_a_ratio_of_medians_lies_in_its_interval_which_narrows_with_the_pairs() -> None:
    rng = random.Random(0)

    def pairs(n: int) -> list[tuple[float, float]]:
        return [(rng.uniform(1, 2), 3 * rng.uniform(1, 2)) for _ in range(n)]

    few, many = ratio_of_medians(pairs(10)), ratio_of_medians(pairs(1000))
    for ratio, (low, high) in (few, many):
        assert low <= ratio <= high
    assert many[0] == pytest.approx(3, abs=0.2)
    assert many[1][1] - many[1][0] < few[1][1] - few[1][0]
    assert ratio_of_medians([(2.0, 5.0)] * 4) == (2.5, (2.5, 2.5))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_records_made_in_bulk_are_listed_like_uploaded_ones(kind: str, tmp_path: Path) -> None:
    if kind == "postgresql":
        with postgres_database() as url:
            check_records(url)
    else:
        check_records(f"sqlite:///{tmp_path / 'modelpool.db'}")


def check_records(url: str) -> None:
    migrate(url)
    database = Database(url)
    bootstrap(database, None)
    with database.read() as session:
        organisation_id = organisation_of(database)
    pool_id = fill(url, 40)
    with database.read() as session:
        rows, _ = page(session, ModelRow, organisation_id, after=None, limit=200)
        inside = [row for row in rows if row.pool_id == pool_id]
        assert len(inside) == 40
        assert [row.created_at for row in inside] == sorted(
            (row.created_at for row in inside), reverse=True
        )
        assert inside[-1].created_at == START
        assert len({row.organisation_id for row in inside}) == 5
        assert all(row.name_key == name_key(row.name) for row in session.scalars(select(ModelRow)))
    database.dispose()


def test_the_page_says_what_each_request_promises_and_reached() -> None:
    cases = [
        {"database": kind, "request": name, "promises": promise, "ratio": 1.04,
         "ratio_95": (0.99, 1.1), "small_s": 0.001, "large_s": 0.002}
        for kind in ("sqlite", "postgresql")
        for name, (promise, _) in REQUESTS.items()
    ]  # fmt: skip
    record = {"small": 10, "large": 1000, "rounds": 7, "machine": MACHINE, "cases": cases}
    lines = growth_tables([record], Legend([], [record]))
    assert "1,000 model records over its time at 10" in lines[0]
    assert f"| one record | {FLAT} {2 * REACHED}|" in lines
    assert {promise for promise, _ in REQUESTS.values()} == {FLAT, BOUNDED, COUNTS}


class Sometimes(BaseHTTPRequestHandler):
    """Answers requests to / and refuses others."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 429)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Quietly."""


def load(path: str) -> subprocess.CompletedProcess[str]:
    """Three clients against a server of the standard library."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Sometimes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        order = {
            "port": server.server_port,
            "request": f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n",
            "clients": 3,
            "seconds": 0.2,
        }
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving.clients"],
            input=json.dumps(order), capture_output=True, text=True, check=False,
        )  # fmt: skip
        server.shutdown()
    return found


def test_clients_count_whole_answers_and_how_long_they_took() -> None:
    found = json.loads(load("/").stdout)
    assert len(found["latencies"]) >= 3
    assert all(0 < each <= found["wall_s"] for each in found["latencies"])
    assert found["cpu_s"] > 0


def test_a_refusal_is_no_answer_and_ends_the_measurement() -> None:
    refused = load("/busy")
    assert refused.returncode != 0
    assert "429" in refused.stderr


def test_the_limit_is_named_by_who_was_busy() -> None:
    case = {"client_cpu": 0.1, "server_wanted": 0.5}
    assert limit_of(case) == WAITING
    assert limit_of(case | {"server_wanted": 1.2}) == "the server's processor time"
    assert limit_of(case | {"server_wanted": 1.2, "client_cpu": 0.9}) == "the clients"


def test_the_page_says_what_load_was_answered() -> None:
    figures = {
        f"{of}_{what}": value
        for of in ("per_s", "p50", "p95", "p99")
        for what, value in (("ratio", 0.25), ("ratio_95", (0.2, 0.3)), ("s", 0.012))
    }
    case = figures | {
        "request": "GET /", "clients": 8, "per_s": 1234.5, "server_cpu": 0.8, "server_wanted": 1.1,
        "client_cpu": 0.2, "cpu_ms": 2.5, "nothing_cpu_ms": 0.5,
    }  # fmt: skip
    record = {"database": "sqlite", "records": 1000, "rounds": 6, "seconds": 1.0,
              "machine": MACHINE, "cases": [case]}  # fmt: skip
    quarter = "0.25 (0.2 to 0.3)"
    assert (
        f"| GET / | 8 | 1234 | {quarter} | {quarter} | {quarter} | {quarter} | 12 ms | 12 ms | "
        "2.5 ms (0.5 ms) | 0.80 (1.10) | the server's processor time |"
    ) in load_tables([record], Legend([], [record]))
