"""Recovered tasks, kept in memory only, and the cross-task episodes drawn from them.

Dims: M slots, B images of one task, R rows (M * B), N ways, K images per class, C, S.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.episodes import draw_rows, episode_of
from ml.errors import UnusablePool
from ml.shapes import Float
from ml.types import Episode, Teacher

ClassKey = tuple[int, str]
"""(teacher, class name); the teacher is -1 where a name alone says which class it is."""

ANY_TEACHER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedTask:
    """Which teacher answered, and for which of its outputs."""

    teacher: int
    classes: tuple[int, ...]


def key_classes(teachers: Sequence[Teacher], *, private: bool) -> list[tuple[ClassKey, ...]]:
    """Say, for each teacher's outputs, which class they stand for.

    Args:
        teachers: the pool.
        private: whether every teacher's classes are its own; else teachers that use one name for
            a class mean the same class, and no episode holds it twice.
    """
    return [
        tuple((i if private else ANY_TEACHER, name) for name in teacher.class_names)
        for i, teacher in enumerate(teachers)
    ]


class TaskMemory:
    """The last recovered tasks; the oldest one gives way. Images never leave the process."""

    def __init__(
        self,
        keys: Sequence[tuple[ClassKey, ...]],
        *,
        capacity: int,
        n_way: int,
        images_per_class: int,
        image_shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        """An empty memory.

        Args:
            keys: what key_classes said of the pool.
            capacity: M, tasks remembered at most.
            n_way: ways of a task at most.
            images_per_class: K.
            image_shape: (C, S, S).
            device: where the images lie.
        """
        self._keys = keys
        self.capacity = capacity
        self._rows_per_task = n_way * images_per_class
        self._images_per_class = images_per_class
        rows = capacity * self._rows_per_task
        # Episodes drawn from it keep the format: a learner's step on a CPU takes a third less.
        self._images = torch.empty(
            (rows, *image_shape), device=device, memory_format=torch.channels_last
        ).zero_()
        self.tasks: list[RememberedTask] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self.tasks)

    def put(self, task: RememberedTask, images: Float[Tensor, "b c s s"]) -> None:
        """Remember a task in the oldest slot; image i is of class i modulo the ways."""
        slot = self._next
        if slot < len(self.tasks):
            self.tasks[slot] = task
        else:
            self.tasks.append(task)
        self._next = (slot + 1) % self.capacity
        self.refresh(slot, images)

    def refresh(self, slot: int, images: Float[Tensor, "b c s s"]) -> None:
        """Replace the images of a remembered task."""
        ways = len(self.tasks[slot].classes)
        rounds = images.reshape(self._images_per_class, ways, *images.shape[1:])
        by_class = rounds.transpose(0, 1).flatten(0, 1)
        start = slot * self._rows_per_task
        self._images[start : start + len(by_class)] = by_class

    def images_of(self, slot: int) -> Float[Tensor, "b c s s"]:
        """A remembered task's images, in the order in which they were put in."""
        ways = len(self.tasks[slot].classes)
        start = slot * self._rows_per_task
        by_class = self._images[start : start + ways * self._images_per_class]
        runs = by_class.reshape(ways, self._images_per_class, *by_class.shape[1:])
        return runs.transpose(0, 1).flatten(0, 1)

    def starts_by_class(self) -> dict[ClassKey, list[int]]:
        """For each class in memory, the first row of each run of images_per_class images of it."""
        starts: dict[ClassKey, list[int]] = {}
        for slot, task in enumerate(self.tasks):
            for way, output in enumerate(task.classes):
                start = slot * self._rows_per_task + way * self._images_per_class
                starts.setdefault(self._keys[task.teacher][output], []).append(start)
        return starts

    def draw_episode(
        self, *, n_way: int, n_shot: int, n_query: int, rng: torch.Generator
    ) -> Episode:
        """A task nobody taught: classes from any teachers (FREE, BelL's task interpolation).

        Fewer ways when the memory has fewer classes.

        Raises:
            UnusablePool: if the memory holds fewer than two different classes.
        """
        starts = self.starts_by_class()
        names = list(starts)
        if len(names) < 2:
            raise UnusablePool("replay needs at least 2 different classes across the pool's models")
        rows = []
        for i in draw_rows(len(names), min(n_way, len(names)), rng).tolist():
            runs = torch.tensor(starts[names[i]])
            drawn = draw_rows(len(runs) * self._images_per_class, n_shot + n_query, rng).cpu()
            rows.append(runs[drawn // self._images_per_class] + drawn % self._images_per_class)
        return episode_of(self._images, torch.stack(rows), n_shot=n_shot)

    def state(self) -> dict[str, list[int]]:
        """Which tasks are remembered, as lists of numbers; no image."""
        return {
            "memory.teachers": [task.teacher for task in self.tasks],
            "memory.ways": [len(task.classes) for task in self.tasks],
            "memory.classes": [output for task in self.tasks for output in task.classes],
            "memory.next": [self._next],
        }

    def restore(self, state: dict[str, list[int]]) -> None:
        """Take over which tasks are remembered; their images must then be recovered again."""
        classes = iter(state["memory.classes"])
        self.tasks = [
            RememberedTask(teacher=teacher, classes=tuple(next(classes) for _ in range(ways)))
            for teacher, ways in zip(state["memory.teachers"], state["memory.ways"], strict=True)
        ]
        self._next = state["memory.next"][0]
