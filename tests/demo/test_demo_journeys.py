"""What a journey's effort is made of, and what it brings along."""

import json
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import digits, journeys, server
from demo.errors import DemoError
from demo.person import Effort, Person, clicks_in_dialogue, summary


def effort(clicks: int, seconds: float) -> Effort:
    return Effort(clicks=clicks, fields=2, seconds=seconds)


def test_one_file_takes_two_clicks_in_the_dialogue_and_any_more_three():
    assert [clicks_in_dialogue(files) for files in (1, 2, 3, 50)] == [2, 3, 3, 3]
    with pytest.raises(ValueError, match="no file"):
        clicks_in_dialogue(0)


def test_typing_takes_a_click_and_a_field_and_several_files_a_button_and_the_dialogue():
    person, anything = Person(MagicMock()), MagicMock()
    person.click(anything)
    person.write(anything, "digit 7")
    person.choose(anything, [Path("1.png"), Path("2.png")])
    found = person.effort()
    assert (found.clicks, found.fields) == (1 + 1 + 1 + 3, 1)
    assert anything.click.call_count == 3  # what the dialogue takes is no element of the page
    anything.press_sequentially.assert_called_once_with("digit 7")


def test_runs_are_told_by_their_median_and_where_they_differ_their_range():
    runs = [effort(9, 4.04), effort(9, 3.0), effort(11, 20.0)]
    assert summary(runs) == ("9 (9 to 11)", "2", "4.0 (3.0 to 20.0)")


def test_runs_that_read_alike_have_no_range():
    assert summary([effort(9, 4.01), effort(9, 4.04)]) == ("9", "2", "4.0")


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a demo has left one checkpoint of its clients."""
    monkeypatch.setattr(server, "VAR", tmp_path / "var")
    folder = tmp_path / "var" / "clients"
    folder.mkdir(parents=True)
    tensors = {"classifier.bias": torch.zeros(3), "encoder.0.bn.weight": torch.ones(4)}
    save_file(tensors, folder / "digits-client-01.safetensors")
    (folder / "digits-client-01.json").write_text(json.dumps({"image_size": 16}))
    return folder


def test_each_run_brings_a_checkpoint_that_no_run_before_it_brought(clients: Path, tmp_path: Path):
    (first, said), (second, _) = (journeys.changed_checkpoint(tmp_path) for _ in range(2))
    assert said == {"image_size": 16}
    assert first.stem != second.stem
    assert first.read_bytes() != second.read_bytes()
    before = load_file(clients / "digits-client-01.safetensors")
    after = load_file(first)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name], atol=10 * journeys.NUDGE, rtol=0)


def test_without_the_demos_checkpoints_there_is_no_journey(clients: Path, tmp_path: Path):
    (clients / "digits-client-01.safetensors").unlink()
    with pytest.raises(DemoError, match="make demo"):
        journeys.changed_checkpoint(tmp_path)


def test_the_images_are_of_two_classes_no_model_knows_and_none_is_both_shown_and_asked(
    tmp_path: Path,
):
    shown, asked = journeys.pictures(tmp_path)
    assert len(shown) == 2
    assert [len(files) for files in shown.values()] == [journeys.N_SHOT] * 2
    names = [path.name for files in (*shown.values(), asked) for path in files]
    assert len(set(names)) == len(names) == 2 * (journeys.N_SHOT + journeys.N_QUERY)
    assert all({path.parent.name for path in files} == {name} for name, files in shown.items())
    assert set(shown) <= {digits.CLASS_NAMES[number] for number in digits.UNSEEN_CLASSES}
