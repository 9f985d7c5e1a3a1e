"""Keys, members and the audit trail in a real browser."""

from collections.abc import Callable

import pytest
from looking import overflow_px, serious_findings
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from pool.database.session import Database
from pool.database.tables import OrganisationRow
from pool.domain import new_id
from tests.factories import ADMIN

pytestmark = pytest.mark.xdist_group("browser-access")

HOSTILE = '<img src=x onerror="window.ran=1">'


def status_of(anonymous: TestClient, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return anonymous.get("/v1/usage", headers=headers).status_code


def make_key(page: Page, name: str) -> str:
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the key").click()
    secret = page.get_by_role("region", name="The new key")
    expect(secret).to_be_focused()
    return secret.locator("pre").inner_text()


def test_a_key_is_made_shown_once_renewed_and_revoked(
    open_page: Callable[..., Page], anonymous: TestClient
) -> None:
    page = open_page("/#/access")
    first = make_key(page, HOSTILE)
    assert status_of(anonymous, first) == 200
    assert serious_findings(page) == []
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_text(first)).to_have_count(0)
    page.locator("summary").filter(has_text="Renew").first.click()
    page.get_by_role("button", name="Give it a new secret").first.click()
    expect(page.get_by_role("region", name="The new key")).to_be_visible()
    second = page.get_by_role("region", name="The new key").locator("pre").inner_text()
    assert (status_of(anonymous, first), status_of(anonymous, second)) == (401, 200)
    page.get_by_role("button", name=f"Revoke {HOSTILE}").click()
    assert status_of(anonymous, second) == 200
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator(".line").first.locator(".tag")).to_have_text("revoked")
    assert status_of(anonymous, second) == 401
    assert page.evaluate("window.ran") is None


def test_the_own_keys_new_secret_is_shown_before_the_old_one_signs_out(
    open_page: Callable[..., Page], anonymous: TestClient
) -> None:
    page = open_page("/#/access")
    page.locator("summary").filter(has_text="Renew").click()
    page.get_by_role("button", name="Give it a new secret").click()
    secret = page.get_by_role("region", name="The new key").locator("pre")
    expect(secret).to_be_visible()
    assert status_of(anonymous, ADMIN) == 401
    assert status_of(anonymous, secret.inner_text()) == 200


def test_an_owner_takes_an_organisation_in_changes_its_roles_and_removes_it(
    open_page: Callable[..., Page], client: TestClient, database: Database
) -> None:
    other = OrganisationRow(id=new_id("org"), name=HOSTILE)
    with database.write() as session:
        session.add(other)
    page = open_page("/#/access/members")
    page.get_by_label("Its id").fill(other.id)
    page.get_by_role("button", name="Take it in").click()
    taken = page.locator(".line").filter(has_text=other.id)
    expect(taken.locator(".tag")).to_have_text(["contributor", "consumer"])
    expect(taken.locator(".name")).to_have_text(HOSTILE)
    taken.locator("summary").click()
    taken.get_by_label("contributor").uncheck()
    assert serious_findings(page) == []
    taken.get_by_role("button", name="Save").click()
    expect(taken.locator(".tag")).to_have_text(["consumer"])
    taken.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    expect(taken).to_have_count(0)
    assert page.evaluate("window.ran") is None


def test_the_last_owner_is_told_why_it_cannot_leave(open_page: Callable[..., Page]) -> None:
    page = open_page("/#/access/members")
    page.get_by_role("button", name="Leave default").click()
    page.get_by_role("button", name="Leave the pool").click()
    expect(page.get_by_role("alert")).to_contain_text("owner")


def test_what_happened_is_listed_the_latest_first(
    open_page: Callable[..., Page], client: TestClient
) -> None:
    assert client.post("/v1/pools", json={"name": "ward 3"}).status_code == 201
    page = open_page("/#/access/audit", scheme="dark", width=360)
    events = page.locator(".event strong")
    expect(events).to_have_text(["Pool made", "Key made", "Pool made", "Organisation added"])
    page.get_by_label("Pool").select_option("ward 3")
    expect(events).to_have_text(["Pool made"])
    assert serious_findings(page) == []
    assert overflow_px(page) == 0
    page.goto("/#/access")
    expect(page.get_by_role("button", name="Make the key")).to_be_visible()
    assert serious_findings(page) == []
    assert overflow_px(page) == 0
    page.goto("/#/access/members")
    expect(page.get_by_role("button", name="Take it in")).to_be_visible()
    assert overflow_px(page) == 0
