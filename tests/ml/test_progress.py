import pytest
import torch

from ml import progress

CPU = torch.device("cpu")


class Clock:
    """A clock that only moves when told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "thread_time", clock)
    return clock


def test_the_fraction_is_the_share_of_time_once_each_kind_was_seen(clock):
    meter = progress.WorkMeter({"a": 2, "b": 2}, {"a": 1.0, "b": 1.0}, CPU)
    for kind, cost_s in (("a", 1), ("a", 1), ("b", 9)):
        clock.now_s += cost_s
        fraction = meter.lap(kind)
    assert fraction == pytest.approx(11 / 20)
    clock.now_s += 9
    assert meter.lap("b") == pytest.approx(1.0)


def test_a_kind_not_seen_yet_is_weighed_by_its_prior(clock):
    meter = progress.WorkMeter({"a": 1, "b": 3}, {"a": 1.0, "b": 5.0}, CPU)
    clock.now_s += 2.0
    assert meter.lap("a") == pytest.approx(1 / 16)


def test_the_fraction_never_falls(clock):
    meter = progress.WorkMeter({"a": 4, "b": 1}, {"a": 1.0, "b": 0.1}, CPU)
    fractions = []
    for kind, cost_s in (("a", 1), ("a", 1), ("b", 100), ("a", 1), ("a", 1)):
        clock.now_s += cost_s
        fractions.append(meter.lap(kind))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


def test_a_resumed_run_starts_at_what_was_done(clock):
    meter = progress.WorkMeter({"a": 4}, {"a": 1.0}, CPU)
    meter.skip("a", 2)
    clock.now_s += 5.0
    assert meter.lap("a") == pytest.approx(3 / 4)


def test_what_was_rehearsed_weighs_as_it_took_gives_way_to_what_is_seen_and_is_done_itself(clock):
    meter = progress.WorkMeter({"a": 2, "b": 2}, {"a": 1.0, "b": 1.0}, CPU)
    clock.now_s += 100.0
    meter.rehearsed({"b": 9.0})
    clock.now_s += 1.0
    assert meter.lap("a") == pytest.approx(101 / 120)
    clock.now_s += 1.0
    assert meter.lap("a") == pytest.approx(102 / 120)
    clock.now_s += 6.0
    assert meter.lap("b") == pytest.approx(108 / 114)


def test_on_a_cpu_another_programs_turn_weighs_nothing_and_elsewhere_waiting_does(monkeypatch):
    wall, thread = Clock(), Clock()
    monkeypatch.setattr(progress.time, "perf_counter", wall)
    monkeypatch.setattr(progress.time, "thread_time", thread)
    fractions = {}
    for device in (CPU, torch.device("cuda")):
        meter = progress.WorkMeter({"a": 1, "b": 1}, {"a": 1.0, "b": 1.0}, device)
        meter.rehearsed({"b": 1.0})
        wall.now_s += 9.0  # the processor was someone else's for most of it
        thread.now_s += 1.0
        fractions[device.type] = meter.lap("a")
    assert fractions == {"cpu": pytest.approx(1 / 2), "cuda": pytest.approx(9 / 10)}

    def waiting() -> None:
        wall.now_s += 9.0

    took = {device: progress.fastest(waiting, torch.device(device)) for device in ("cpu", "cuda")}
    assert took == {"cpu": 0.0, "cuda": pytest.approx(9.0)}
