"""Each command's output for people and for programs, and its exit code."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from images_of import class_folders, png
from live_pool import LivePool
from safetensors.torch import load
from terminal import SOURCES
from typer.testing import CliRunner, Result

from modelpool import Client
from modelpool.cli.main import app
from tests.factories import QUICK_MULTI_TEACHER, as_json, small_checkpoint, small_manifest

Run = Callable[..., Result]
pytestmark = pytest.mark.xdist_group("client-commands")  # they share a server and a learner


@pytest.fixture(scope="module")
def learner(pool: LivePool, two_models: list[str]) -> dict[str, Any]:
    """A meta-learner, ordered and followed by the command line."""
    env = {"MODELPOOL_URL": pool.url, "MODELPOOL_KEY": pool.key}
    words = ["build", "--algorithm", "multi_teacher", "--seed", "1", "--watch", "--json"]
    words += [
        word for name, value in QUICK_MULTI_TEACHER.items() for word in ("--set", f"{name}={value}")
    ]
    words += [word for model in two_models for word in ("--model", model)]
    done = CliRunner().invoke(app, words, env=env)
    assert done.exit_code == 0, done.output
    record: dict[str, Any] = json.loads(done.stdout)
    assert (record["status"], record["seed"], record["n_models"]) == ("succeeded", 1, 2)
    return record


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labelled images, and two to ask about."""
    queries = tmp_path / "queries"
    queries.mkdir()
    (queries / "night.png").write_bytes(png(20))
    (queries / "noon.png").write_bytes(png(240))
    return class_folders(tmp_path / "support"), queries


def test_predictions_come_as_a_table_as_json_and_as_csv(
    run: Run, logged_in: LivePool, learner: dict[str, Any], folders: tuple[Path, Path]
) -> None:
    support, queries = folders
    words = ["predict", learner["meta_learner_id"], "--support", support, "--query", queries]
    table = run(*words)
    assert table.exit_code == 0, table.output
    rows = [line.split() for line in table.stdout.splitlines() if "queries" in line]
    assert [(Path(row[0]).name, row[1]) for row in rows] == [
        ("night.png", "dark"),
        ("noon.png", "bright"),
    ]
    assert (support / rows[0][3]).parent == support / "dark"  # most like one of these
    assert (support / rows[0][3]).is_file()
    assert "of such answers to be right" in table.stderr
    found = json.loads(run(*words, "--json").stdout)
    assert [each["label"] for each in found["predictions"]] == ["dark", "bright"]
    assert set(found["predictions"][0]["probabilities"]) == {"dark", "bright"}
    lines = list(csv.DictReader(io.StringIO(run(*words, "--csv").stdout)))
    assert [line["label"] for line in lines] == ["dark", "bright"]
    assert float(lines[0]["dark"]) > float(lines[0]["bright"])
    assert run("predict", "latest", *words[2:]).exit_code == 0
    (queries / "dusk.png").write_bytes(png(125))
    unsure = run(*words, "--coverage", 0.5)
    marked = [line for line in unsure.stdout.splitlines() if "not sure" in line]
    assert any("dusk.png" in line for line in marked)
    assert len(marked) < 3


def test_no_file_name_leaves_the_machine(
    logged_in: LivePool,
    learner: dict[str, Any],
    folders: tuple[Path, Path],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import httpx

    sent: list[bytes] = []
    send = httpx.Client.send

    def recorded(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        sent.append(request.read())
        return send(self, request, **options)

    monkeypatch.setattr(httpx.Client, "send", recorded)
    support, queries = folders
    words = ["predict", learner["meta_learner_id"], "-s", support, "-q", queries]
    assert run(*words).exit_code == 0
    body = b"".join(sent)
    assert b"bright" in body
    assert not [name for name in (b"night", b"noon", b"dark-0", b".png") if name in body]


def test_more_queries_than_a_request_takes_are_asked_in_several(
    run: Run,
    logged_in: LivePool,
    learner: dict[str, Any],
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from modelpool.cli import predict

    support, queries = folders
    words = ["predict", learner["meta_learner_id"], "-s", support, "-q", queries, "--json"]
    monkeypatch.setattr(predict, "MOST_QUERIES", 1)
    found = json.loads(run(*words).stdout)["predictions"]
    assert [(Path(each["image"]).stem, each["label"]) for each in found] == [
        ("night", "dark"),
        ("noon", "bright"),
    ]


def test_evaluate_gives_accuracy_over_episodes_that_a_seed_repeats(
    run: Run, logged_in: LivePool, learner: dict[str, Any], folders: tuple[Path, Path]
) -> None:
    words = ["evaluate", learner["meta_learner_id"], "--data", folders[0], "--shots", 2]
    words += ["--episodes", 5]
    told = run(*words)
    assert told.exit_code == 0, told.output
    assert "2-way 2-shot, 5 episodes, seed 0" in told.stdout
    assert "smallest has no more" in told.stderr
    found = json.loads(run(*words, "--json").stdout)
    assert found == json.loads(run(*words, "--json").stdout)
    assert (found["episodes"], found["way"], found["queries"]) == (5, 2, 3)
    assert found["accuracy"] > 0.5  # dark and bright squares


def test_evaluate_says_which_classes_have_too_few_images(
    run: Run, logged_in: LivePool, folders: tuple[Path, Path]
) -> None:
    few = run("evaluate", "latest", "--data", folders[0])
    assert few.exit_code == 2
    assert "bright (5), dark (5)" in few.stderr
    assert "--shots 4" in few.stderr


def test_lists_and_records_are_tables_for_people_and_json_for_programs(
    run: Run, logged_in: LivePool, learner: dict[str, Any], two_models: list[str]
) -> None:
    ids = {
        "pools": "default",
        "models": two_models[0],
        "builds": learner["id"],
        "learners": learner["meta_learner_id"],
    }
    for group, name in ids.items():
        listed, shown = run(group, "list"), run(group, "show", name)
        assert (listed.exit_code, shown.exit_code) == (0, 0), group
        assert name in listed.stdout
        assert name in shown.stdout
        assert isinstance(json.loads(run(group, "list", "--json").stdout), list)
        record = json.loads(run(group, "show", name, "--json").stdout)
        assert name in (record["id"], record["name"] if group == "pools" else None)
    assert "doubtful" in run("models", "list").stdout  # random weights
    assert "doubtful" in run("models", "show", two_models[0]).stdout
    one = run("models", "list", "--limit", 1)
    assert one.stdout.count("mdl_") == 1
    assert "--limit" in one.stderr
    assert "1-shot" in run("learners", "show", "latest").stdout


def test_push_dir_pushes_what_has_a_manifest_and_tells_what_became_of_each(
    run: Run, logged_in: LivePool, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, n_classes in enumerate((3, 3, 4)):
        (folder / f"m{number}.safetensors").write_bytes(small_checkpoint(40 + number))
        manifest = small_manifest(f"m{number}", n_classes=n_classes)
        (folder / f"m{number}.json").write_text(as_json(manifest))
    (folder / "alone.safetensors").write_bytes(small_checkpoint(50))
    done = run("push-dir", folder, "--json")
    assert done.exit_code == 5
    found = {each["file"]: each["status"] for each in json.loads(done.stdout)}
    assert found == {
        "m0.safetensors": "ready",
        "m1.safetensors": "ready",
        "m2.safetensors": "rejected",
    }
    told = run("push-dir", folder)
    assert "1 checkpoint without a manifest" in told.stderr
    assert "2 of 3 checkpoints ready" in told.stdout
    assert "m2.safetensors: The checkpoint does not fit conv4" in told.stdout


def test_a_torch_file_is_converted_here_and_reaches_the_pool_as_safetensors(
    run: Run, logged_in: LivePool, tmp_path: Path, client: Client
) -> None:
    path = tmp_path / "m.pt"
    torch.save({"epoch": 1, "model_state_dict": load(small_checkpoint(60))}, path)
    (tmp_path / "m.json").write_text(as_json(small_manifest("from torch")))
    done = run("push", path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["source_format"] == "safetensors"
    torch.save({"epoch": 2, "model_state_dict": load(small_checkpoint(61))}, path)
    as_is = run("push", path, "--as-is", "--json")
    assert json.loads(as_is.stdout)["source_format"] == "torch-zip"


def test_what_is_missing_is_named_where_nobody_can_be_asked(
    run: Run, logged_in: LivePool, tmp_path: Path
) -> None:
    (tmp_path / "m.safetensors").write_bytes(small_checkpoint(70))
    done = run("push", tmp_path / "m.safetensors", "--image-size", 16)
    assert done.exit_code == 2
    assert "--normalization, --classes" in done.stderr
    assert "--backbone" not in done.stderr  # it is read from the file


REFUSALS = {
    "nothing of that id": (("builds", "show", "bld_none"), 1),
    "no such pool": (("build", "--pool", "nowhere"), 1),
    "an unknown command": (("frobnicate",), 2),
    "a setting without a value": (("build", "--set", "steps"), 2),
    "a file that is not there": (("push", "nowhere.pt"), 2),
    "a support set of nothing": (("predict", "ml_x", "-s", "nowhere", "-q", "nowhere"), 2),
}


@pytest.mark.parametrize(("words", "code"), REFUSALS.values(), ids=REFUSALS)
def test_exit_codes_tell_refusals_apart(
    run: Run, logged_in: LivePool, words: tuple[str, ...], code: int
) -> None:
    done = run(*words)
    assert done.exit_code == code
    assert done.stderr
    assert done.stdout == ""


def test_no_login_and_no_server_have_codes_of_their_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = run("models", "list")
    assert (nobody.exit_code, "modelpool login" in nobody.stderr) == (4, True)
    monkeypatch.setenv("MODELPOOL_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELPOOL_KEY", "mp_x")
    away = run("build", "--json")
    assert away.exit_code == 3
    assert json.loads(away.stderr)["error"]["code"] == "unreachable"


def test_refusals_are_json_where_json_was_asked_for(run: Run, logged_in: LivePool) -> None:
    done = run("models", "show", "mdl_none", "--json")
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["status"], error["exit_code"]) == ("model-not-found", 404, 1)
    assert error["detail"]


def test_a_key_that_may_not_or_has_ended_is_told_with_a_code_of_its_own(
    run: Run, pool: LivePool, client: Client
) -> None:
    made = client.request("POST", "/v1/keys", json={"name": "short", "scopes": ["models:read"]})
    assert run("login", pool.url, "--key-stdin", input=made["key"]).exit_code == 0
    forbidden = run("build")
    assert forbidden.exit_code == 4
    assert "builds:write" in forbidden.stderr
    client.request("DELETE", f"/v1/keys/{made['id']}")
    ended = run("models", "list")
    assert ended.exit_code == 4
    assert made["key"] not in ended.output


def test_login_without_a_terminal_takes_the_key_from_standard_input(
    run: Run, pool: LivePool
) -> None:
    asked = run("login", pool.url)
    assert (asked.exit_code, "--key-stdin" in asked.stderr) == (2, True)
    done = run("login", pool.url, "--key-stdin", "--json", input=f"{pool.key}\n")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["url"] == pool.url
    assert pool.key not in done.output
    assert run("status").exit_code == 0
    assert run("logout").exit_code == 0
    assert run("status").exit_code == 4


def test_what_others_wrote_cannot_steer_the_terminal(
    run: Run, logged_in: LivePool, client: Client
) -> None:
    client.create_pool("plain", description="red \x1b[31m and \x9b2J bell \x07")
    shown = run("pools", "show", "plain")
    assert shown.exit_code == 0
    assert not {"\x1b", "\x9b", "\x07"} & set(shown.stdout)
    assert "red" in shown.stdout


def test_a_meta_learner_and_a_classifier_are_exported_as_files(
    run: Run,
    logged_in: LivePool,
    learner: dict[str, Any],
    folders: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    words = ["learners", "export", learner["meta_learner_id"], "--output"]
    assert run(*words, tmp_path / "learner.zip").exit_code == 0
    assert "predict.py" in "".join(zipfile.ZipFile(tmp_path / "learner.zip").namelist())
    done = run(*words, tmp_path / "classifier.zip", "--support", folders[0], "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["size_bytes"] == (tmp_path / "classifier.zip").stat().st_size
    again = run(*words, tmp_path / "learner.zip")
    assert (again.exit_code, "there already" in again.stderr) == (2, True)
    assert run("learners", "export", "ml_none", "-o", tmp_path / "x").exit_code == 1


def test_an_alias_is_set_asked_by_shown_and_removed(
    run: Run, logged_in: LivePool, learner: dict[str, Any], folders: tuple[Path, Path]
) -> None:
    support, queries = folders
    assert "aliases set" in run("aliases", "list").stderr
    learner_id = learner["meta_learner_id"]
    said = run("aliases", "set", "production", learner_id, "--note", "better on ward 3")
    assert said.exit_code == 0, said.output
    assert "default@production" in said.stderr
    answer = run(
        "predict", "default@production", "--support", support, "--query", queries, "--json"
    )
    assert json.loads(answer.stdout)["meta_learner_id"] == learner_id
    assert "production" in run("learners", "show", learner_id).stdout
    late = run("aliases", "set", "production", learner_id, "--expect", "ml_other")
    assert (late.exit_code, "alias-moved" in late.stderr) == (1, True)
    assert learner_id in run("aliases", "list").stdout
    assert run("aliases", "remove", "production").exit_code == 0
    told = run("aliases", "show", "production").stdout
    assert "better on ward 3" in told
    assert "it is removed" in told
    assert run("predict", "default@production", "-s", support, "-q", queries).exit_code == 1


def test_commands_and_options_complete_as_the_script_asks(tmp_path: Path) -> None:
    for words, completed in (
        ("modelpool pus", "push-dir"),
        ("modelpool push --back", "--backbone"),
    ):
        asked = {
            "_MODELPOOL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
            "PYTHONPATH": str(SOURCES),
        }
        done = subprocess.run(
            [sys.executable, "-m", "modelpool"],
            env=os.environ | asked,
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed in done.stdout.split()


def test_an_older_server_that_says_less_is_understood(
    monkeypatch: pytest.MonkeyPatch, run: Run, logged_in: LivePool, folders: tuple[Path, Path]
) -> None:
    """Its answers have no outlook and no nearest image."""
    label = {"label": "dark", "probabilities": {"dark": 0.75, "bright": 0.25}}
    answer = {"predictions": [label] * 2, "timing_ms": 5.0, "meta_learner_status": "active"}
    answer["meta_learner_id"] = "ml_x"
    monkeypatch.setattr(Client, "predict", lambda *_, **__: answer)
    done = run("predict", "ml_x", "-s", folders[0], "-q", folders[1])
    assert done.exit_code == 0
    assert "75%" in done.stdout
    assert "most like" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_completion_script_is_printed_for_each_shell(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_MODELPOOL_COMPLETE" in done.stdout
