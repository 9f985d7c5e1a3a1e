"""What the demo does around its server: address, key, environment, requests, what it shows."""

import io
import itertools
import json
import shlex
import socket
import stat
import threading
import time
from concurrent.futures import CancelledError, Future, as_completed
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
import torch

from demo import build, parallel, server
from demo.api import Api, Refused, Unreachable, read_events
from demo.curl import curl_command, save_images
from demo.digits import UNSEEN_CLASSES, load_digits
from demo.episodes import Slides, draw_episodes
from demo.errors import DemoError
from demo.parallel import for_each
from demo.story import Story


@pytest.fixture
def var(tmp_path: Path, monkeypatch) -> Path:
    """The demo's state directory, elsewhere."""
    monkeypatch.setattr(server, "VAR", tmp_path)
    monkeypatch.setattr(server, "KEY_FILE", tmp_path / "key")
    monkeypatch.setattr(server, "RECORD_FILE", tmp_path / "server.json")
    return tmp_path


def api_answering(*answers: httpx.Response) -> tuple[Api, list[httpx.Request]]:
    waiting, seen = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return waiting.pop(0)

    return Api("http://server", "mp_secret", transport=httpx.MockTransport(answer)), seen


def test_the_key_is_made_once_for_its_owner_alone(var: Path):
    key = server.api_key()
    assert key.startswith("mp_")
    assert len(key) >= 40
    assert server.api_key() == key
    assert stat.S_IMODE((var / "key").stat().st_mode) == 0o600


def test_a_port_in_use_is_passed_over():
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        assert server.free_port(wanted) > wanted


def test_the_demo_never_touches_the_callers_own_deployment(var: Path):
    caller = {
        "PATH": "/bin",
        "LANG": "C",
        "MODELPOOL_DATABASE_URL": "postgresql://real/one",
        "MODELPOOL_STORAGE_URL": "s3://real",
        "MODELPOOL_VAR": "/real",
        "MODELPOOL_DEVICE": "cpu",
    }
    environment = server.server_environment(caller, port=8123, key="mp_k")
    assert {name: v for name, v in environment.items() if name.startswith("MODELPOOL_")} == {
        "MODELPOOL_DEVICE": "cpu",
        "MODELPOOL_VAR": str(var),
        "MODELPOOL_HOST": "127.0.0.1",
        "MODELPOOL_PORT": "8123",
        "MODELPOOL_BOOTSTRAP_KEY": "mp_k",
    }
    assert environment["LANG"] == "C"


@pytest.mark.parametrize("record", ["", "[]", '{"pid": 1}', json.dumps({"pid": 2**22, "url": "u"})])
def test_no_server_is_found_where_none_runs(var: Path, record: str):
    (var / "server.json").write_text(record)
    assert server.running() is None


def test_a_process_that_took_over_the_number_is_not_taken_for_the_server(var: Path):
    (var / "server.json").write_text(json.dumps({"pid": 1, "url": "u"}))
    assert server.running() is None


def test_a_problem_document_is_told_as_title_and_detail():
    problem = {"title": "The pool has no usable model", "detail": "Upload two.", "code": "x"}
    api, _ = api_answering(httpx.Response(409, json=problem))
    with pytest.raises(Refused, match=r"^The pool has no usable model: Upload two\.$"):
        api.start_build(["m"], algorithm="free", preset="tiny", seed=0)


def test_an_error_without_a_problem_document_is_told_by_its_status():
    api, _ = api_answering(httpx.Response(502, text="<html>"))
    with pytest.raises(Refused, match="502 Bad Gateway"):
        api.build("b")


def test_a_server_that_is_gone_is_told_so():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        Api("http://server", "k", transport=httpx.MockTransport(refuse)) as api,
        pytest.raises(Unreachable),
    ):
        api.build("b")


def test_all_pages_of_models_are_read():
    api, seen = api_answering(
        httpx.Response(200, json={"items": [{"id": "a"}], "next_cursor": "next"}),
        httpx.Response(200, json={"items": [{"id": "b"}], "next_cursor": None}),
    )
    assert [record["id"] for record in api.models()] == ["a", "b"]
    assert seen[1].url.params["cursor"] == "next"


def test_a_few_shot_request_pairs_labels_with_support_and_sends_the_key():
    api, (seen) = api_answering(httpx.Response(200, json={"predictions": [{"label": "dog"}]}))
    answers = api.predict("ml", support=[b"S1", b"S2"], labels=["cat", "dog"], query=[b"Q"])
    assert answers == ["dog"]
    assert seen[0].headers["Authorization"] == "Bearer mp_secret"
    body = seen[0].content
    assert body.index(b"cat") < body.index(b"dog")
    assert body.index(b"S1") < body.index(b"S2") < body.index(b"Q")
    assert body.count(b'name="labels"') == 2


def test_server_sent_events_are_read_and_comments_are_not():
    stream = [
        ": keep-alive",
        "",
        "event: progress",
        'data: {"step": 3}',
        "id: 7",
        "",
        'data: {"cut": "off"}',
    ]
    (event,) = read_events(iter(stream))
    assert (event.id, event.kind, event.payload) == ("7", "progress", {"step": 3})


def test_progress_is_told_with_stage_time_left_losses_alignment_and_rate():
    payload = {
        "stage": "recover",
        "step": 3,
        "total_steps": 60,
        "fraction": 0.05,
        "eta_s": 71.6,
        "metrics": {
            "accuracy": 0.5,
            "recovered_tasks_per_s": 2.04,
            "loss": 1.2345,
            "gradient_alignment": 0.123,
            "kd_loss": 0.01,
        },
    }
    assert build.describe_progress(payload) == (
        "recover 3/60, ETA 72 s, loss 1.23, kd_loss 0.01, "
        "gradient_alignment 0.123, recovered_tasks_per_s 2.04"
    )
    unknown = {**payload, "eta_s": None, "metrics": {}}
    assert build.describe_progress(unknown) == "recover 3/60"


def test_a_build_is_followed_across_a_broken_stream_without_telling_anything_twice(monkeypatch):
    monkeypatch.setattr(build, "POLL_S", 0.0)
    story = io.StringIO()
    running = {"id": "b", "status": "running", "progress": 0.1, "stage": "s", "n_models": 2}
    done = {**running, "status": "succeeded", "meta_learner_id": "m"}

    def events(number: int) -> httpx.Response:
        data = {"stage": "s", "step": number, "total_steps": 2, "fraction": number / 2}
        text = f"event: progress\ndata: {json.dumps(data)}\nid: {number}\n\n"
        return httpx.Response(200, text=text)

    api, seen = api_answering(
        httpx.Response(202, json=running),
        events(1),
        httpx.Response(200, json=running),
        events(2),
        httpx.Response(200, json=done),
        httpx.Response(200, json={"id": "m"}),
    )
    learner = build.run_build(
        api, ["x", "y"], Story(n_steps=1, file=story), algorithm="free", preset="tiny"
    )
    assert learner == {"id": "m"}
    after = [r.headers["Last-Event-ID"] for r in seen if r.url.path.endswith("/events")]
    assert after == ["0", "1"]


def test_rejections_are_counted_with_reason_and_remedy():
    story = io.StringIO()
    ready = {"status": "ready", "reason": None, "recipe": None}
    rejected = {"status": "rejected", "reason": "It is a pickle.", "recipe": "Save it anew."}
    items = [{"id": "a", **ready}, {"id": "b", **ready}, {"id": "c", **rejected}]
    api, _ = api_answering(httpx.Response(200, json={"items": items, "next_cursor": None}))
    usable = build.wait_for_inspection(api, ["a", "b", "c"], Story(n_steps=1, file=story))
    assert [record["id"] for record in usable] == ["a", "b"]
    for told in ("2 ready, 1 rejected", "1 rejected: It is a pickle.", "To fix it: Save it anew."):
        assert told in story.getvalue()


def test_one_ready_model_is_too_few_for_a_build():
    items = [{"id": "a", "status": "ready"}]
    api, _ = api_answering(httpx.Response(200, json={"items": items, "next_cursor": None}))
    with pytest.raises(DemoError, match="at least two"):
        build.wait_for_inspection(api, ["a"], Story(n_steps=1, file=io.StringIO()))


def told(monkeypatch, seconds_per_percent: float) -> str:
    """What a story tells off a terminal of a bar that moves at this speed."""
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: seconds_per_percent * next(clock) / 2)
    out = io.StringIO()
    story = Story(n_steps=2, file=out)
    with story.step("First [bracketed] step"), story.bar("working") as bar:
        for done in range(1, 101):
            bar.update(done / 100, f"[{done}]")
    return out.getvalue()


def test_off_a_terminal_text_is_as_written_without_escape_codes(monkeypatch):
    text = told(monkeypatch, 0.01)
    assert "[1/2] First [bracketed] step" in text
    assert "working 100%  [100]" in text
    assert "\x1b" not in text


def test_off_a_terminal_quick_work_is_told_once_and_slow_work_by_tenths(monkeypatch):
    assert told(monkeypatch, 0.001).count("working") == 1
    assert 8 <= told(monkeypatch, 1.5).count("working") <= 10


def test_calls_that_have_not_begun_never_begin_after_a_failure(monkeypatch):
    begun: list[int] = []
    futures: list[Future[None]] = []
    watched = threading.Event()

    def watching(waiting):
        futures.extend(waiting)
        watched.set()
        return as_completed(waiting)

    def call(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise DemoError("no")
        watched.wait(timeout=1)
        with suppress(CancelledError):  # holds the only thread until the last call is canceled
            futures[-1].result(timeout=1)

    monkeypatch.setattr(parallel, "as_completed", watching)
    with closing(for_each(range(5), call, at_once=1)) as calls:
        _, first = next(calls)
    with pytest.raises(DemoError):
        first.result()
    assert set(begun) <= {0, 1}


def test_every_subject_is_given_with_its_own_outcome():
    outcomes = {n: f.result() for n, f in for_each([1, 2, 3], lambda n: n * n, at_once=2)}
    assert outcomes == {1: 1, 2: 4, 3: 9}


@pytest.fixture
def request_files(tmp_path: Path) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Support and query files of one 3-way 1-shot episode of unseen digits."""
    data = load_digits().of_classes(UNSEEN_CLASSES)
    rng = torch.Generator().manual_seed(0)
    (draw,) = draw_episodes(data, n_way=3, n_shot=1, n_query=15, episodes=1, rng=rng)
    return save_images(Slides(data), draw, tmp_path / "it's, my; images", n_query=3)


def test_the_saved_files_names_do_not_tell_the_class(request_files):
    support, query = request_files
    assert [path.name for path, _ in support] == [f"support-{n}.png" for n in (1, 2, 3)]
    assert {label for _, label in support} == {"digit 7", "digit 8", "digit 9"}
    assert len(query) == 3
    assert len({path.read_bytes() for path in query}) == 3


def test_the_shell_takes_the_curl_line_apart_as_it_was_meant(request_files, tmp_path: Path):
    support, query = request_files
    key = tmp_path / "the key"
    line = curl_command("http://h:1", "mtl_1", key_file=key, support=support, query=query)
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:3] == ["curl", "-sS", "http://h:1/v1/meta-learners/mtl_1/predictions"]
    assert words[3:5] == ["-H", f"Authorization: Bearer $(cat '{key}')"]
    expected = []
    for path, label in support:
        expected += ["-F", f'support=@"{path}"', "--form-string", f"labels={label}"]
    for path in query:
        expected += ["-F", f'query=@"{path}"']
    assert words[5:] == expected


def test_paths_below_the_current_directory_are_short(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = curl_command(
        "http://h:1",
        "m",
        key_file=tmp_path / "var" / "key",
        support=[],
        query=[tmp_path / "var" / "q.png"],
    )
    assert "$(cat var/key)" in line
    assert 'query=@"var/q.png"' in line
