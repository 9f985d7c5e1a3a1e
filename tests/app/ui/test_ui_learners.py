"""A curator in a real browser: what a meta-learner is worth, where it is from, taking it along."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from looking import overflow_px, serious_findings
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from pool.database.tables import MetaLearnerRow, ModelRow
from pool.domain import ENSEMBLE, MetaLearnerStatus, Scope

pytestmark = pytest.mark.xdist_group("browser-learners")

HOSTILE = '<img src=x onerror="window.ran=1">'


def test_a_meta_learner_tells_its_lineage_and_is_taken_along(
    open_page: Callable[..., Page],
    add_model: Callable[..., ModelRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
    tmp_path: Path,
) -> None:
    learner = add_meta_learner(add_model(name="ward 1"), add_model(name=HOSTILE))
    page = open_page("/#/learners", scheme="dark", width=360)
    expect(page.get_by_text("not estimated")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("link", name="default · one conv4").click()
    expect(page.locator(".chips a")).to_have_text([HOSTILE, "ward 1"])
    expect(page.locator(".chain li")).to_contain_text(
        ["2 models", "as they were", "free", "active"]
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="PyTorch").click()
    assert download.value.suggested_filename == f"{learner.id}.zip"
    download.value.save_as(tmp_path / "taken.zip")
    assert "predict.py" in " ".join(zipfile.ZipFile(tmp_path / "taken.zip").namelist())
    expect(page.get_by_text(f"Saved as {learner.id}.zip")).to_be_visible()
    assert page.evaluate("window.ran") is None
    assert serious_findings(page) == []
    assert overflow_px(page) == 0


def test_an_alias_is_given_moved_here_from_another_and_removed(
    open_page: Callable[..., Page],
    add_meta_learner: Callable[..., MetaLearnerRow],
    client: TestClient,
) -> None:
    first, second = add_meta_learner(), add_meta_learner()
    page = open_page(f"/#/learners/{first.id}", width=360)
    aliases = page.get_by_role("region", name="Aliases")
    expect(aliases.get_by_text("No alias points here.")).to_be_visible()
    aliases.get_by_label("Name").fill("Not A Name")
    aliases.get_by_role("button", name="Point it here").click()
    expect(aliases.get_by_text("lower-case letters")).to_be_visible()
    aliases.get_by_label("Name").fill("production")
    aliases.get_by_label("Why").fill(HOSTILE)
    aliases.get_by_role("button", name="Point it here").click()
    expect(aliases.get_by_text("default@production")).to_be_visible()

    page.goto(f"/#/learners/{second.id}")
    expect(aliases.get_by_text("No alias points here.")).to_be_visible()
    aliases.get_by_label("Name").fill("production")
    aliases.get_by_role("button", name="Point it here").click()
    expect(aliases.get_by_text("Whoever asks by it will ask this one.")).to_be_visible()
    assert serious_findings(page) == []
    aliases.get_by_role("button", name="Move it here").click()
    aliases.get_by_text("History, 2 moves").click()
    expect(aliases.locator("ol li")).to_contain_text([second.id, HOSTILE])
    assert overflow_px(page) == 0
    assert client.get("/v1/meta-learners/default@production").json()["id"] == second.id

    aliases.get_by_role("button", name="Remove the alias production").click()
    aliases.get_by_role("button", name="Remove it").click()
    expect(aliases.get_by_text("No alias points here.")).to_be_visible()
    assert client.get("/v1/meta-learners/default@production").status_code == 404
    assert page.evaluate("window.ran") is None


def test_an_ensemble_stays_and_a_tainted_learner_says_so(
    open_page: Callable[..., Page], add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    learner = add_meta_learner(backbone=ENSEMBLE, status=MetaLearnerStatus.TAINTED)
    page = open_page(f"/#/learners/{learner.id}")
    expect(page.get_by_text("It learnt from a model that was withdrawn since.")).to_be_visible()
    expect(page.get_by_text("so it stays on this server")).to_be_visible()
    expect(page.get_by_role("button", name="ONNX")).to_have_count(0)


def test_a_models_page_says_what_withdrawing_it_would_touch(
    open_page: Callable[..., Page],
    add_model: Callable[..., ModelRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
) -> None:
    model, untouched = add_model(), add_model()
    add_meta_learner(model)
    add_meta_learner(model, backbone=ENSEMBLE)
    page = open_page(f"/#/pool/{model.id}")
    expect(page.get_by_role("region", name="Lineage")).to_contain_text(
        "Withdrawing it would cancel 2 builds, delete 1 ensemble, mark 1 meta-learner"
    )
    assert serious_findings(page) == []
    page.goto(f"/#/pool/{untouched.id}")
    expect(page.get_by_text("withdrawing it would touch nothing else")).to_be_visible()


def test_a_key_that_may_not_take_it_along_is_told_so(
    open_page: Callable[..., Page],
    add_meta_learner: Callable[..., MetaLearnerRow],
    with_scopes: Callable[..., object],
) -> None:
    learner = add_meta_learner()
    client = with_scopes(Scope.MODELS_READ, Scope.BUILDS_READ)
    key = client.headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    page = open_page(f"/#/learners/{learner.id}", key=key)
    page.get_by_role("button", name="ONNX").click()
    expect(page.get_by_role("alert")).to_contain_text("builds:write")


def test_without_meta_learners_the_page_says_how_to_make_one(
    open_page: Callable[..., Page],
) -> None:
    page = open_page("/#/learners")
    expect(page.get_by_role("heading", name="No meta-learner yet")).to_be_visible()
    expect(page.get_by_role("link", name="Order a build")).to_be_visible()
