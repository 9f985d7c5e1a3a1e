"""The pages' files: served with a strict policy, complete, and without a way for names to run."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.ui.files import STATIC, page_headers, read_files
from pool.settings import Settings

SCRIPTS = sorted(STATIC.rglob("*.js"))


def test_the_root_is_the_page_and_leads_to_the_description_of_the_api(
    anonymous: TestClient,
) -> None:
    page = anonymous.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'href="/docs"' in page.text


def test_every_file_forbids_what_is_not_of_this_server(anonymous: TestClient) -> None:
    for name in ["", *(f"ui/{name}" for name in read_files())]:
        policy = anonymous.get(f"/{name}").headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_browser_may_send_parts_of_uploads_to_the_object_store_and_nowhere_else() -> None:
    store = Settings(
        storage_url="s3://models",
        s3_endpoint="minio:9000",
        s3_public_endpoint="https://store.example.org/",
        s3_secret_key="a secret",
    )
    policy = page_headers(store)["Content-Security-Policy"]
    assert "connect-src 'self' https://store.example.org;" in policy
    assert "connect-src 'self';" in page_headers(Settings())["Content-Security-Policy"]


def test_a_file_that_has_not_changed_is_not_sent_again(anonymous: TestClient) -> None:
    first = anonymous.get("/ui/js/main.js")
    again = anonymous.get("/ui/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = anonymous.get("/ui/js/main.js", headers={"If-None-Match": '"another release"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["files.py", "../files.py", "%2e%2e/files.py", "js", "nothing.js"])
def test_nothing_else_is_served(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(f"/ui/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_do_not_draw_from_the_budget_of_requests(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"anonymous_per_minute": 1}))
    with TestClient(app) as client:
        assert {client.get("/ui/js/main.js").status_code for _ in range(5)} == {200}


def test_every_file_that_a_page_names_is_there() -> None:
    files = read_files()
    named = re.findall(r'(?:href|src)="/ui/([^"]+)"', (STATIC / "index.html").read_text())
    assert named
    missing = [name for name in named if name not in files]
    for script in SCRIPTS:
        for target in re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', script.read_text()):
            path = (script.parent / target).resolve().relative_to(STATIC).as_posix()
            if path not in files:
                missing.append(f"{script.name}: {target}")
    assert missing == []


def test_every_file_is_named_by_a_page() -> None:
    text = "".join(path.read_text() for path in STATIC.rglob("*") if path.is_file())
    assert [name for name in read_files() if Path(name).name not in text + "index.html"] == []


def test_no_script_turns_text_into_markup_or_keeps_a_key_for_good() -> None:
    banned = r"\.(innerHTML|outerHTML|insertAdjacentHTML)\b|document\.write|\beval\(|new Function"
    banned += r"|localStorage\.|document\.cookie|DOMParser"
    found = [path.name for path in SCRIPTS if re.search(banned, path.read_text())]
    assert found == []


def test_the_pages_ask_no_other_host() -> None:
    hosts = {
        host
        for path in STATIC.rglob("*")
        if path.is_file()
        for host in re.findall(r"https?://([^/\"'\s`]+)", path.read_text())
    }
    assert hosts == {"www.w3.org"}  # a namespace's name, which is never asked


def test_every_script_holds_one_idea() -> None:
    long = {path.name: n for path in SCRIPTS if (n := len(path.read_text().splitlines())) > 300}
    assert long == {}
