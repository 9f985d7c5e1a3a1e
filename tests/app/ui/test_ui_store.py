"""A large upload whose parts a real browser sends to a real S3 server, past the API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from pool.settings import Settings
from tests.factories import small_manifest
from tests.s3_server import s3_server, s3_settings

pytestmark = pytest.mark.xdist_group("browser-store")

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """host:port of an S3 server that answers pages of any origin."""
    buckets = tmp_path / "buckets"
    buckets.mkdir()
    with s3_server(buckets, "--allow-origin", "*") as address:
        yield address


@pytest.fixture
def settings(settings: Settings, store: str) -> Settings:
    """The embedded deployment with its objects there."""
    return s3_settings(store, var=settings.var, threads=1)


def test_parts_go_to_the_object_store_without_the_key(
    open_page: Callable[..., Page], store: str, tmp_path: Path
) -> None:
    checkpoint, manifest = tmp_path / "large.pt", tmp_path / "large.json"
    checkpoint.write_bytes(b"1" * 17 * MIB)
    manifest.write_text(json.dumps(small_manifest("large")))
    page = open_page("/#/upload")
    puts: list[Request] = []
    page.on("request", lambda request: puts.append(request) if request.method == "PUT" else None)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([checkpoint, manifest])
    with page.expect_response("**/complete") as completed:
        page.get_by_role("button", name="Upload 1 checkpoint").click()
    assert completed.value.status == 202
    assert {request.url.split("/")[2] for request in puts} == {store}
    assert len(puts) == 3
    assert not [request for request in puts if "authorization" in request.all_headers()]
    expect(page.get_by_text("17.0 MiB of 17.0 MiB, 100 %")).to_be_visible()
