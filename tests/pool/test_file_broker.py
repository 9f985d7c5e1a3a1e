"""The embedded broker: messages as files that several processes share."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection

from pool import file_broker
from pool.queue import make_celery
from pool.settings import Settings

MESSAGES = 300


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[file_broker.Channel]:
    file_broker.register()
    folder = str(tmp_path / "messages")
    Path(folder).mkdir()
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
    with Connection("filesystem://localhost/", transport_options=options) as connection:
        yield connection.channel()


def test_the_server_speaks_through_this_transport(settings: Settings) -> None:
    with make_celery(settings).connection_for_write() as connection:
        assert isinstance(connection.transport, file_broker.Transport)


def test_a_reader_beside_a_writer_gets_every_message_whole_and_in_order(
    channel: file_broker.Channel,
) -> None:
    payload = "x" * 20_000

    def write() -> None:
        for number in range(MESSAGES):
            channel._put("jobs", {"number": number, "payload": payload})

    writer = threading.Thread(target=write)
    writer.start()
    got = []
    while len(got) < MESSAGES:
        try:
            message = channel._get("jobs")
        except Empty:
            assert writer.is_alive() or channel._size("jobs") or len(got) == MESSAGES
            continue
        assert message["payload"] == payload
        got.append(message["number"])
    writer.join()
    assert got == list(range(MESSAGES))


def test_a_message_that_cannot_be_read_is_passed_over(channel: file_broker.Channel) -> None:
    folder = Path(channel.data_folder_in)
    (folder / "0_half.jobs.msg").write_bytes(b"")
    (folder / "1_half.jobs.msg").write_bytes(b'{"number": ')
    channel._put("jobs", {"number": 1})
    assert channel._get("jobs") == {"number": 1}
    with pytest.raises(Empty):
        channel._get("jobs")


def test_a_failed_write_leaves_no_file(channel: file_broker.Channel) -> None:
    with pytest.raises(TypeError):
        channel._put("jobs", {"number": object()})
    assert list(Path(channel.data_folder_in).iterdir()) == []


def test_a_table_that_another_process_is_writing_is_read_once_it_is_whole(
    channel: file_broker.Channel,
) -> None:
    table = channel.control_folder / "jobs.exchange"
    table.write_text("")
    writer = threading.Timer(0.1, lambda: table.write_text(json.dumps([["jobs", "", "jobs"]])))
    writer.start()
    assert [entry.queue for entry in channel.get_table("jobs")] == ["jobs"]
    writer.join()
