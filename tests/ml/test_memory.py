import pytest
import torch
from toy_pool import CPU, seeded, toy_teachers

from ml.episodes import sample_episode
from ml.errors import TooFewImages, UnusablePool
from ml.memory import RememberedTask, TaskMemory, key_classes

SHAPE = (1, 2, 2)
PER_CLASS = 4


def marked(teacher: int, classes: tuple[int, ...]) -> torch.Tensor:
    """Images in recovery's order whose pixels say 100 * teacher + output."""
    values = torch.tensor([100.0 * teacher + c for c in classes]).repeat(PER_CLASS)
    return values.view(-1, 1, 1, 1).expand(-1, *SHAPE).clone()


def memory_of(*tasks: tuple[int, tuple[int, ...]], private: bool = False, capacity: int = 8):
    memory = TaskMemory(
        key_classes(toy_teachers(), private=private),
        capacity=capacity,
        n_way=3,
        images_per_class=PER_CLASS,
        image_shape=SHAPE,
        device=CPU,
    )
    for teacher, classes in tasks:
        memory.put(RememberedTask(teacher=teacher, classes=classes), marked(teacher, classes))
    return memory


def test_an_episode_mixes_classes_of_different_teachers():
    memory = memory_of((0, (0, 1, 2)), (1, (0, 1, 2)))
    episode = memory.draw_episode(n_way=6, n_shot=1, n_query=3, rng=seeded(0))
    marks = {float(image[0, 0, 0]) for image in episode.support_images}
    assert marks == {0, 1, 2, 100, 101, 102}


def test_each_label_of_an_episode_stands_for_one_class_in_support_and_query():
    memory = memory_of((0, (2, 0, 1)), (1, (1, 2)))
    episode = memory.draw_episode(n_way=5, n_shot=2, n_query=2, rng=seeded(0))
    assert episode.support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for label in range(5):
        of_label = torch.cat(
            [
                episode.support_images[episode.support_labels == label],
                episode.query_images[episode.query_labels == label],
            ]
        )
        assert len(of_label) == 4
        assert of_label.unique().numel() == 1


def test_support_and_query_share_no_image():
    memory = memory_of((0, (0, 1)))
    memory.refresh(0, torch.arange(8.0).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone())
    episode = memory.draw_episode(n_way=2, n_shot=1, n_query=3, rng=seeded(0))
    everything = torch.cat([episode.support_images, episode.query_images])
    assert everything[:, 0, 0, 0].unique().numel() == 8


def test_teachers_that_share_a_class_name_count_it_once():
    """Teachers 0 and 3 both know direction 0, as their first class."""
    memory = memory_of((0, (0, 1)), (3, (0, 1)))
    episode = memory.draw_episode(n_way=9, n_shot=1, n_query=1, rng=seeded(0))
    assert episode.n_way == 3
    seen = set()
    for seed in range(20):
        episode = memory.draw_episode(n_way=3, n_shot=1, n_query=1, rng=seeded(seed))
        seen |= {float(image[0, 0, 0]) for image in episode.support_images}
    assert seen == {0, 1, 300, 301}


def test_private_classes_count_once_per_teacher():
    memory = memory_of((0, (0, 1)), (3, (0, 1)), private=True)
    assert memory.draw_episode(n_way=9, n_shot=1, n_query=1, rng=seeded(0)).n_way == 4


def test_a_memory_of_one_class_cannot_be_replayed():
    with pytest.raises(UnusablePool, match="2 different classes"):
        memory_of((0, (0,)), (3, (0,))).draw_episode(n_way=5, n_shot=1, n_query=1, rng=seeded(0))


def test_a_full_memory_forgets_its_oldest_task():
    memory = memory_of((0, (0, 1)), (1, (0, 1)), (2, (0, 1)), capacity=2)
    assert [task.teacher for task in memory.tasks] == [2, 1]


def test_a_remembered_tasks_images_come_back_in_their_order():
    images = torch.rand(8, *SHAPE, generator=seeded(0))
    memory = memory_of((0, (0, 1, 2)), (1, (1, 0)))
    memory.refresh(1, images)
    assert torch.equal(memory.images_of(1), images)


def test_what_is_saved_names_the_tasks_and_holds_no_image():
    memory = memory_of((0, (2, 0)), (1, (1, 2, 0)), (2, (0, 1)), capacity=2)
    state = memory.state()
    assert all(type(number) is int for numbers in state.values() for number in numbers)
    restored = memory_of(capacity=2)
    restored.restore(state)
    assert restored.tasks == memory.tasks
    assert restored.state() == state


def test_a_sampled_episode_has_the_asked_ways_shots_and_queries():
    images, labels = torch.arange(60.0).view(-1, 1, 1, 1), torch.arange(60) % 6
    episode = sample_episode(images, labels, n_way=4, n_shot=2, n_query=3, rng=seeded(0))
    assert episode.support_labels.bincount().tolist() == [2] * 4
    assert episode.query_labels.bincount().tolist() == [3] * 4
    for label in range(4):
        support = episode.support_images[episode.support_labels == label].flatten()
        query = episode.query_images[episode.query_labels == label].flatten()
        drawn = torch.cat([support, query])
        assert drawn.unique().numel() == 5
        assert (drawn % 6).unique().numel() == 1


@pytest.mark.parametrize(("n_way", "n_shot"), [(7, 1), (2, 10)])
def test_an_episode_larger_than_the_data_is_refused(n_way, n_shot):
    images, labels = torch.rand(60, 1, 1, 1), torch.arange(60) % 6
    with pytest.raises(TooFewImages):
        sample_episode(images, labels, n_way=n_way, n_shot=n_shot, n_query=1, rng=seeded(0))
