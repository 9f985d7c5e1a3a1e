from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from toy_pool import CPU, seeded, stripes, toy_teacher, toy_teachers

from ml import answers, progress
from ml.algorithms import ALGORITHMS, multi_teacher, multi_teacher_run
from ml.algorithms.multi_teacher import (
    PRESETS,
    MultiTeacherConfig,
    configure,
    make_images,
    make_targets,
    rehearse,
    step_size,
    train,
)
from ml.algorithms.multi_teacher_run import STEPS_A_REPORT, batch_sizes, begin
from ml.answers import answers_of
from ml.errors import InvalidConfig, UnusablePool
from ml.evaluation import evaluate, random_initialisation, teacher_centroid
from ml.fewshot import predict
from ml.learner import load_meta_learner, save_meta_learner
from ml.projection import Projection
from ml.state import load_state, save_state
from ml.types import Teacher, silent

SHORT = MultiTeacherConfig(
    images=40,
    batch_images=20,
    refine_steps=2,
    flip=False,
    axes=6,
    hidden=10,
    steps=2 * STEPS_A_REPORT + 4,
    batch_size=8,
    n_way=3,
    save_every=STEPS_A_REPORT - 3,
)


class Stopped(Exception):
    """Raised by a report, as a worker does to cancel."""


def run(config=SHORT, *, seed=0, teachers=None, **how):
    pool = toy_teachers() if teachers is None else teachers
    return train(pool, config, rng=seeded(seed), device=CPU, **how)


@cache
def undisturbed():
    """What a run delivers that nobody looks at."""
    return run()


def identical(one, other) -> bool:
    mine = {**one.tensors, **one.projection.tensors()}
    theirs = {**other.tensors, **other.projection.tensors()}
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    assert identical(undisturbed(), run(save=lambda _: None, offer=lambda *_: None))
    assert not identical(undisturbed(), run(seed=1))


@pytest.mark.parametrize("n_saved", [1, 2])
def test_an_interrupted_run_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path, n_saved):
    saved = []

    def stop(progress):
        if len(saved) == n_saved:
            raise Stopped

    with pytest.raises(Stopped):
        run(save=saved.append, report=stop)
    save_state(tmp_path / "state", saved[-1])
    assert identical(undisturbed(), run(seed=99, resume_from=load_state(tmp_path / "state")))


def test_a_saved_state_holds_no_picture_and_no_answer():
    saved = []
    run(save=saved.append)
    largest = max(tensor.numel() for name, tensor in saved[-1].tensors.items() if name != "rng")
    weights = toy_teachers()[0].module.state_dict().values()
    assert largest <= max(tensor.numel() for tensor in weights)


def test_a_state_of_another_config_is_refused():
    saved = []
    run(save=saved.append)
    with pytest.raises(InvalidConfig, match="another config or pool"):
        run(replace(SHORT, temperature=1.0), resume_from=saved[-1])


def test_unseen_classes_are_told_apart_better_than_by_an_untrained_network_or_by_a_teacher():
    """On stripes of directions that no teacher was trained on."""
    config = replace(SHORT, images=600, batch_images=100, refine_steps=8, steps=300, batch_size=64)
    learner = run(config)
    images, labels = stripes((10, 11, 13, 15), 30, size=16, channels=1, rng=seeded(8))
    setting = {"n_way": 3, "n_shot": 1, "n_query": 10, "episodes": 60}

    def accuracy(subject):
        return evaluate(subject, images, labels, rng=seeded(3), **setting).mean

    reached = accuracy(learner)
    assert reached > accuracy(random_initialisation(learner, seeded(5))) + 0.1
    assert reached > accuracy(teacher_centroid(toy_teachers()[0]))


def test_targets_keep_who_is_like_whom_in_the_eyes_of_all_teachers():
    config = replace(SHORT, axes=12, flattening=0.0, feature_weight=0.0)
    one = begin(toy_teachers(), config, seeded(0), CPU, silent)
    images = make_images(one)
    targets = make_targets(one, images)
    answers = torch.cat(
        [
            answers_of(each, images / 255.0, temperature=config.temperature, precision="auto")
            for each in one.teachers
        ],
        dim=1,
    )
    centred = torch.nn.functional.normalize(answers - answers.mean(0), dim=1)
    assert torch.allclose(targets @ targets.T, centred @ centred.T, atol=1e-3)


def test_what_many_teachers_say_is_kept_in_bounded_numbers(monkeypatch):
    monkeypatch.setattr(multi_teacher_run, "MOST_NUMBERS", 8)
    one = begin(toy_teachers(), SHORT, seeded(0), CPU, silent)
    assert make_targets(one, make_images(one)).shape == (40, SHORT.axes)
    assert identical(run(), run())


def test_features_can_be_distilled_in_place_of_answers():
    by_features = run(replace(SHORT, answer_weight=0.0, feature_weight=1.0, axes=20))
    assert len(by_features.projection.weight) == 20
    by_answers = run(replace(SHORT, feature_weight=0.0, axes=20))
    assert len(by_answers.projection.weight) == 12


def test_pictures_are_bytes_and_a_seed_draws_them_again():
    one, again = (begin(toy_teachers(), SHORT, seeded(0), CPU, silent) for _ in range(2))
    images = make_images(one)
    assert images.dtype == torch.uint8
    assert images.shape == (40, 1, 16, 16)
    assert torch.equal(images, make_images(again))


def test_progress_rises_through_all_stages_to_one():
    told = []
    run(report=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(progress.stage for progress in told)) == [
        "draw and refine images",
        "ask the teachers",
        "find principal axes",
        "distil",
        "measure BatchNorm",
    ]
    assert told[-1].step == told[-1].total_steps == SHORT.steps
    assert "distillation_loss" in told[-2].metrics
    assert "bn_gap_refined" in told[0].metrics


def test_a_rehearsal_of_all_later_stages_changes_no_bit(monkeypatch):
    begun = begin(toy_teachers(), SHORT, seeded(0), CPU, silent)
    assert {stage: seconds > 0 for stage, seconds in rehearse(begun).items()} == {
        "ask the teachers": True,
        "find principal axes": True,
        "distil": True,
        "measure BatchNorm": True,
    }
    rehearsed = undisturbed()
    monkeypatch.setattr(multi_teacher, "rehearse", lambda _: {})
    assert identical(rehearsed, run())


@pytest.mark.parametrize(
    "slowest", ["new_theta", "refine", "said_of", "principal_axes", "distil_step", "learner_of"]
)
def test_the_time_it_will_take_is_right_from_the_first_report(monkeypatch, slowest):
    now_s, told = [0.0], []
    monkeypatch.setattr(progress.time, "thread_time", lambda: now_s[0])

    def slow(module, name, cost_of):
        original = getattr(module, name)

        def slowed(*args, **named):
            now_s[0] += cost_of(*args) * (90.0 if name == slowest else 1.0)
            return original(*args, **named)

        monkeypatch.setattr(module, name, slowed)

    images, steps = 80, 3 * STEPS_A_REPORT
    slow(multi_teacher_run, "new_theta", lambda *_: 1.0)
    slow(multi_teacher, "refine", lambda drawn, *_: len(drawn))
    slow(multi_teacher, "said_of", lambda _run, _teacher, chunk: len(chunk))
    slow(multi_teacher, "principal_axes", lambda *_: 64.0)
    slow(answers, "principal_axes", lambda *_: 1.0)
    slow(multi_teacher, "distil_step", lambda *_: 1.0)
    slow(multi_teacher, "learner_of", lambda _run, chunk: len(chunk))
    config = replace(SHORT, images=images, steps=steps, save_every=1_000)
    run(config, report=lambda at: told.append((now_s[0], at.fraction)))
    assert len(told) == 4 + len(toy_teachers()) + 1 + 3 + 1
    assert [elapsed_s / share for elapsed_s, share in told] == [pytest.approx(now_s[0])] * len(told)


def test_teachers_of_every_size_depth_and_number_of_classes_work_together():
    mixed = (
        toy_teachers()[0],
        toy_teacher((1, 2), seed=1, size=32, channels=3, steps=2),
        toy_teacher((1, 2, 4, 5), seed=2, backbone="resnet10", steps=2),
    )
    learner = run(teachers=mixed)
    assert (learner.image_size, learner.channels) == (16, 3)


def test_of_a_large_pool_some_are_drawn_and_single_classes_are_left_out():
    crowd = [*toy_teachers(), *toy_teachers()]
    asked = begin(crowd, replace(SHORT, max_teachers=3), seeded(0), CPU, silent).teachers
    assert len(asked) == 3
    teacher = toy_teachers()[0]
    lonely = Teacher(
        **{f.name: getattr(teacher, f.name) for f in fields(Teacher)} | {"class_names": ("one",)}
    )
    with pytest.raises(UnusablePool, match="at least 2 models"):
        run(teachers=[teacher, lonely])


@pytest.mark.parametrize("hidden", [0, 10])
def test_the_learners_file_brings_its_projection_back(tmp_path: Path, hidden: int):
    learner = run(replace(SHORT, hidden=hidden))
    assert (learner.projection.hidden is not None) == bool(hidden)
    save_meta_learner(tmp_path / "learner", learner)
    assert identical(learner, load_meta_learner(tmp_path / "learner"))


def test_requests_are_answered_in_the_projected_space():
    learner = undisturbed()
    images, labels = stripes((0, 3, 6), 4, size=16, channels=1, rng=seeded(2))
    ask = {"support_labels": labels, "query_images": images, "n_way": 3}
    whole = predict(learner, images, **ask)
    width = learner.module().feature_dim
    plain = predict(replace(learner, projection=None), images, **ask)
    assert torch.allclose(
        predict(replace(learner, projection=Projection(weight=torch.eye(width))), images, **ask),
        plain,
        atol=1e-5,
    )
    assert not torch.allclose(whole, plain, atol=1e-3)
    blind = predict(
        replace(learner, projection=Projection(weight=torch.zeros(1, width))), images, **ask
    )
    assert torch.allclose(blind, torch.full_like(blind, 1 / 3), atol=1e-5)


def test_step_sizes_rise_for_a_fifth_and_fall_to_nothing():
    config = replace(SHORT, steps=100)
    sizes = [step_size(step, config) for step in range(100)]
    assert max(sizes) == pytest.approx(config.learner_lr, rel=0.01)
    assert sizes.index(max(sizes)) in (19, 20)
    assert sizes[-1] < 0.001 * config.learner_lr


@pytest.mark.parametrize(("total", "size"), [(40, 20), (41, 20), (5, 20), (501, 250), (3, 2)])
def test_batches_hold_every_picture_once_and_none_is_alone(total, size):
    sizes = batch_sizes(total, size)
    assert sum(sizes) == total
    assert min(sizes) >= 2
    assert max(sizes) < 2 * size + 2


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_configs_by_name(preset):
    assert ALGORITHMS["multi_teacher"].configure({"preset": preset}) == PRESETS[preset]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": 3}, "no setting 'image'"),
        ({"images": 1}, "images must be between 2"),
        ({"images": 1.5}, "wrong type"),
        ({"preset": "huge"}, "small, tiny"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"bn_weight": -1}, "bn_weight must not be negative"),
        ({"flattening": 0.6}, "flattening"),
        ({"answer_weight": 0, "feature_weight": 0.0}, "nothing is distilled"),
        ({"backbone": "vit"}, "backbone must be one of"),
        ({"steps": 10**9}, "steps must be between"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused_by_name(settings, message):
    with pytest.raises(InvalidConfig, match=message):
        configure(settings)
