"""The recipe `ensemble`: which teachers it keeps, what it tells, what it refuses."""

from dataclasses import replace

import pytest
import torch
from toy_pool import CPU, seeded, toy_teachers

from ml.algorithms import ALGORITHMS, ensemble
from ml.algorithms.ensemble import PRESETS, EnsembleConfig, configure, train
from ml.ensemble import EnsembleLearner
from ml.errors import InvalidConfig, UnusablePool
from ml.types import Teacher, TrainingState


def run(teachers=None, config=PRESETS["all"], seed=0, **how) -> EnsembleLearner:
    pool = toy_teachers() if teachers is None else teachers
    return train(pool, config, rng=seeded(seed), device=CPU, **how)


def modules(learner: EnsembleLearner) -> list[torch.nn.Module]:
    return [member.module for member in learner.members]


def of_one_class() -> Teacher:
    return replace(toy_teachers()[0], class_names=("only",))


def test_every_teacher_that_can_differ_in_its_answers_is_kept_in_order():
    one, two, *_ = toy_teachers()
    learner = run([one, of_one_class(), two])
    assert modules(learner) == [one.module, two.module]
    assert (learner.teachers_asked, learner.answer_temperature) == (10, 2.0)


def test_of_a_larger_pool_some_are_drawn_by_the_seed():
    few = EnsembleConfig(max_teachers=2)
    drawn = {tuple(map(id, modules(run(config=few, seed=seed)))) for seed in range(20)}
    assert len(drawn) > 2
    places = [modules(run()).index(module) for module in modules(run(config=few))]
    assert places == sorted(set(places))
    assert modules(run(config=few, seed=3)) == modules(run(config=few, seed=3))


def test_the_end_is_reported_once_and_nothing_is_saved_or_offered():
    told, others = [], []
    run(report=told.append, save=others.append, offer=lambda *each: others.append(each))
    assert [(each.fraction, each.step, each.total_steps) for each in told] == [(1.0, 1, 1)]
    assert others == []


def test_one_teacher_is_an_ensemble_and_none_is_not():
    assert len(run([toy_teachers()[0], of_one_class()]).members) == 1
    with pytest.raises(UnusablePool, match="at least 2 classes"):
        run([of_one_class()])


def test_a_pool_too_large_for_memory_is_refused_with_what_would_fit(monkeypatch):
    state = toy_teachers()[0].module.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    monkeypatch.setattr(ensemble, "MAX_BYTES", 3 * size + 5)
    with pytest.raises(UnusablePool, match="set max_teachers to 3"):
        run()
    assert len(run(config=EnsembleConfig(max_teachers=3)).members) == 3


def test_a_state_to_resume_from_belongs_to_another_algorithm():
    with pytest.raises(InvalidConfig):
        run(resume_from=TrainingState(tensors={}, scalars={}))


def test_settings_start_from_the_one_preset():
    assert configure({}) == configure({"preset": "all"}) == EnsembleConfig()
    assert ALGORITHMS["ensemble"].configure({"teachers_asked": 0}).teachers_asked == 0
    assert configure({"temperature": 1}).temperature == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "small"},
        {"max_teachers": 0},
        {"max_teachers": 1001},
        {"teachers_asked": -1},
        {"teachers_asked": 1001},
        {"teachers_asked": True},
        {"teachers_asked": 2.5},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"steps": 3},
    ],
)
def test_unusable_settings_are_refused(settings):
    with pytest.raises(InvalidConfig):
        configure(settings)
