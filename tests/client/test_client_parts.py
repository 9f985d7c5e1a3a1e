"""The client's parts without a server: retries, events, files, manifests, numbers."""

import json
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from images_of import class_folders
from safetensors.torch import load_file, save_file
from scipy.stats import t as students_t

from ml.backbones import BACKBONES, build
from modelpool import Checkpoint, Patience, Refused, Unreachable, UnusableFile, credentials
from modelpool.checkpoints import FINGERPRINTS, facts_of, read_facts
from modelpool.cli.exits import OF_ERRORS
from modelpool.convert import NotConverted, to_safetensors
from modelpool.credentials import Credentials, config_path, keep, normal_url
from modelpool.episodes import accuracy_of, draw, plan_for, t_975
from modelpool.errors import ModelpoolError, NotAuthorised, NotLoggedIn, WrongServer
from modelpool.events import Event, Story
from modelpool.manifests import missing, normalization_of, with_facts
from modelpool.unfinished import Unfinished, state_dir
from modelpool.wire import Answer, Call, Pause, answered
from tests.factories import small_checkpoint

PATIENCE = Patience(tries=3, first_s=0.0, longest_asked_s=60)


def walk(call: Call[Any], *outcomes: Answer | Exception) -> tuple[Any, list[float]]:
    """What a call comes to when the world answers so; the pauses on the way."""
    flow, pauses, left = answered(call, PATIENCE), [], list(outcomes)
    step = next(flow)
    try:
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = flow.send(None)
                continue
            outcome = left.pop(0)
            step = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
    except StopIteration as end:
        return end.value, pauses


def problem(status: int, code: str, **headers: str) -> Answer:
    return Answer(
        status=status, headers=headers, content={"code": code, "title": "T", "detail": "D"}
    )


OK = Answer(status=200, headers={}, content={"fine": True})
GET, ONCE_ONLY = Call[Any]("GET", "/x"), Call[Any]("POST", "/x", repeatable=False)


def test_retry_after_is_honoured_to_the_second() -> None:
    limited = problem(429, "rate-limited", **{"retry-after": "7"})
    assert walk(GET, limited, OK) == ({"fine": True}, [7.0])


def test_a_quota_that_comes_back_tomorrow_is_not_waited_for() -> None:
    with pytest.raises(Refused) as refused:
        walk(GET, problem(429, "rate-limited", **{"retry-after": "40000"}))
    assert refused.value.retry_after_s == 40000
    with pytest.raises(Refused):
        walk(GET, problem(429, "quota-exceeded", **{"retry-after": "5"}))


@pytest.mark.parametrize("outcome", [problem(503, "database-unavailable"), Unreachable("away")])
def test_what_creates_without_a_name_is_not_sent_twice(outcome: Answer | Exception) -> None:
    with pytest.raises(ModelpoolError):
        walk(ONCE_ONLY, outcome, OK)
    assert walk(GET, outcome, OK)[0] == {"fine": True}


def test_what_would_be_refused_again_is_not_asked_again() -> None:
    with pytest.raises(Refused):
        walk(GET, problem(409, "model-in-use"), OK)
    with pytest.raises(NotAuthorised):
        walk(GET, problem(401, "not-authenticated"), OK)


def test_an_answer_of_something_else_is_told_by_its_status() -> None:
    with pytest.raises(Refused, match="check the address"):
        walk(GET, Answer(status=404, headers={}, content=None))


def test_a_redirect_and_a_page_of_something_else_are_no_answers() -> None:
    with pytest.raises(WrongServer, match="log in to that address"):
        walk(GET, Answer(status=308, headers={"location": "https://x.org"}, content=None))
    with pytest.raises(WrongServer, match="no Modelpool"):
        walk(GET, Answer(status=200, headers={}, content=None))


def told(story: Story, text: str) -> list[Event]:
    found = [story.feed(line) for line in text.split("\n")]
    return [event for event in found if event is not None]


def test_events_are_told_once_over_streams_that_break() -> None:
    story = Story()
    first = told(story, 'id: 1\nevent: log\ndata: {"message": "a"}\n\nid: 2\nevent: progress\nda')
    story.begin_stream()
    second = told(
        story,
        ': a comment\n\nid: 1\nevent: log\ndata: {}\n\nid: 2\nevent: progress\ndata: {"x":\n'
        'data: 1}\n\nid: 3\nevent: status\ndata: {"status": "succeeded"}\n\n',
    )
    assert [(event.seq, event.kind) for event in first] == [(1, "log")]
    assert [(event.seq, event.data) for event in second] == [
        (2, {"x": 1}),
        (3, {"status": "succeeded"}),
    ]
    assert story.over


def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    story = Story()
    told(story, "retry: 2000\n\n")
    assert story.pause_s(PATIENCE) == 2.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_of_the_server_is_recognised_by_its_shapes(name: str, channels: int) -> None:
    with torch.device("meta"):
        module = build(name, n_classes=7, channels=channels, image_size=84)
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    facts = facts_of(shapes)
    assert (facts.backbone, facts.n_classes, facts.channels) == (name, 7, channels)
    assert set(FINGERPRINTS.values()) == set(BACKBONES)


def test_a_header_that_lies_about_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data in (
        b"",
        b"\xff" * 8,
        (5).to_bytes(8, "little") + b"[1,2]",
        b"\x02" + b"\0" * 7 + b"{",
    ):
        path.write_bytes(data)
        with pytest.raises(UnusableFile, match="no readable safetensors"):
            read_facts(path)


def test_a_torch_file_becomes_the_same_safetensors_each_time(tmp_path: Path) -> None:
    source = tmp_path / "state.safetensors"
    source.write_bytes(small_checkpoint())
    state = load_file(source)
    torch.save({"epoch": 3, "model_state_dict": state, "optimizer": {}}, tmp_path / "m.pt")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(to_safetensors(tmp_path / "m.pt", tmp_path / name))
    assert made[0].read_bytes() == made[1].read_bytes()
    converted = load_file(made[0])
    assert set(converted) == set(state)
    assert all(torch.equal(converted[name], state[name]) for name in state)


def test_a_torch_file_that_safetensors_cannot_hold_goes_as_it_is(tmp_path: Path) -> None:
    path, shared = tmp_path / "m.pt", torch.zeros(4)
    for content in ({"a": shared, "b": shared[:2]}, {"epoch": 3}, [1]):
        torch.save(content, path)
        with pytest.raises(NotConverted):
            to_safetensors(path, tmp_path)
    path.write_bytes(b"no torch file")
    with pytest.raises(NotConverted, match="could not read"):
        to_safetensors(path, tmp_path)


def test_what_was_said_goes_before_what_the_file_tells(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"conv.weight": torch.zeros(4, 3, 3, 3), "fc.weight": torch.zeros(5, 4)}, path)
    facts = read_facts(path)
    assert facts is not None
    assert (facts.n_classes, facts.channels, facts.backbone) == (5, 3, None)
    known = with_facts({"name": "m", "channels": 1}, facts)
    assert known == {"name": "m", "channels": 1}
    assert missing(known) == ["backbone", "image_size", "normalization", "class_names"]


def test_a_normalization_of_one_number_counts_for_every_channel() -> None:
    assert normalization_of("0.5/0.25", 3) == {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert normalization_of("ImageNet", 3)["mean"] == [0.485, 0.456, 0.406]
    for wrong in ("0.5", "a/b", "0.1,0.2/0.3", ""):
        with pytest.raises(UnusableFile):
            normalization_of(wrong, 3)
    with pytest.raises(UnusableFile, match="channel"):
        normalization_of("imagenet", 1)


def test_an_interval_is_students() -> None:
    for freedom in (4, 5, 9, 29, 599):
        assert t_975(freedom) == pytest.approx(students_t.ppf(0.975, freedom), rel=4e-3)
    found = accuracy_of([0.5, 0.7, 0.9, 0.7, 0.7])
    assert found.mean == pytest.approx(0.7)
    # sd = sqrt(0.08 / 4) = 0.1414, over sqrt(5), times t_4 = 2.776
    assert found.half_width == pytest.approx(2.776 * 0.141421 / 5**0.5, rel=4e-3)
    assert accuracy_of([1.0] * 5).interval is None


def test_an_episode_asks_about_no_image_that_it_learnt_from(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    classes = {each.name: sorted(each.iterdir()) for each in folder.iterdir()}
    plan = plan_for(classes, way=None, shots=3, queries=15)
    assert (plan.way, plan.queries) == (2, 2)
    episode = draw(classes, plan, random.Random(3))
    again = draw(classes, plan, random.Random(3))
    assert episode == again
    support, query = ({path for _, path in part} for part in (episode.support, episode.query))
    assert not support & query
    assert (len(support), len(query)) == (6, 4)
    assert all(path.parent.name == label for label, path in episode.query)
    with pytest.raises(UnusableFile, match="--shots 4"):
        plan_for(classes, way=None, shots=5, queries=1)


def test_keys_are_kept_for_this_account_alone_and_never_shown(home: Path) -> None:
    path = keep("http://127.0.0.1:8000", "mp_secret")
    assert home in path.parents
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found = credentials.credentials()
    assert found == Credentials("http://127.0.0.1:8000", "mp_secret", "profile default")
    assert "secret" not in repr(found) + str(found)


def test_a_kept_key_is_not_sent_to_an_address_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep("http://127.0.0.1:8000", "mp_secret")
    monkeypatch.setenv("MODELPOOL_URL", "https://elsewhere.example.org")
    with pytest.raises(NotLoggedIn, match="another"):
        credentials.credentials()
    monkeypatch.setenv("MODELPOOL_KEY", "mp_other")
    assert credentials.credentials().key == "mp_other"


def test_profiles_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("http://127.0.0.1:1", "mp_a", "lab")
    keep("http://127.0.0.1:2", "mp_b")
    assert credentials.credentials("lab").key == "mp_a"
    monkeypatch.setenv("MODELPOOL_PROFILE", "lab")
    assert credentials.credentials().key == "mp_a"
    assert credentials.forget()
    with pytest.raises(NotLoggedIn):
        credentials.credentials()
    assert credentials.credentials("default").key == "mp_b"
    assert list(json.loads(config_path().read_text())) == ["default"]


def test_addresses_are_taken_as_people_type_them() -> None:
    assert normal_url(" https://x.org/pool/docs ") == "https://x.org/pool"
    assert normal_url("http://x.org:8000/") == "http://x.org:8000"
    for wrong in ("x.org", "", "ftp://x.org", "http://"):
        with pytest.raises(ModelpoolError, match="https://"):
            normal_url(wrong)


def test_the_record_of_an_interrupted_push_names_nothing_private(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path / "patients.pt", size_bytes=3, sha256="ab" * 32)
    manifest: Any = {"name": "ward 3", "class_names": ["cancer", "none"]}
    upload: Any = {"id": "upl_1", "expires_at": "2999-01-01T00:00:00Z"}
    unfinished = Unfinished("http://x", checkpoint, manifest)
    unfinished.keep(upload)
    (path,) = state_dir().iterdir()
    assert json.loads(path.read_text()) == {
        "upload_id": "upl_1",
        "expires_at": upload["expires_at"],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Unfinished("http://x", checkpoint, manifest).upload_id == "upl_1"
    other: Callable[..., str | None] = lambda *which: Unfinished(*which).upload_id  # noqa: E731
    assert other("http://y", checkpoint, manifest) is None
    assert other("http://x", checkpoint, {**manifest, "name": "ward 4"}) is None
    unfinished.forget()
    assert list(state_dir().iterdir()) == []


def test_records_of_pushes_that_expired_are_deleted(tmp_path: Path) -> None:
    expired: Any = {"id": "upl_1", "expires_at": "2001-01-01T00:00:00Z"}
    for number in (1, 2):
        checkpoint = Checkpoint(path=tmp_path, size_bytes=3, sha256=f"{number}")
        Unfinished("http://x", checkpoint, {}).keep(expired)
    assert len(list(state_dir().iterdir())) == 1  # the second sweeps the first


def test_every_error_has_an_exit_code() -> None:
    kinds = {kind for kind, _ in OF_ERRORS}
    assert kinds == {*ModelpoolError.__subclasses__(), *Refused.__subclasses__()}
