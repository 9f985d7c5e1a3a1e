import sys
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from toy_pool import CPU, seeded, stripes, toy_teacher, toy_teachers

from ml import progress
from ml.algorithms import ALGORITHMS, free
from ml.algorithms.free import PRESETS, FreeConfig, configure, draw_tasks, train
from ml.algorithms.free_config import CHOICES
from ml.algorithms.free_run import begin, memory_capacity
from ml.canvas import Canvas
from ml.errors import InvalidConfig, NoBatchNorm, UnusablePool
from ml.evaluation import evaluate
from ml.fewshot import predict
from ml.state import load_state, save_state
from ml.types import Teacher

SHORT = FreeConfig(
    outer_steps=5,
    warm_up_steps=1,
    tasks_per_step=2,
    images_per_class=4,
    latent_dim=8,
    generator_width=4,
    adapt_steps=3,  # the last step does not show in the images, so that two steps have one size
    crop_padding=1,
    flip=False,
    replay_episodes=2,
    replay_max_batches=2,
    replay_shots=1,
    replay_queries=2,
    replay_steps=1,
    memory_tasks=3,
    save_every=2,
)


class Stopped(Exception):
    """Raised by a report, as a worker does to cancel."""


def run(config=SHORT, *, seed=0, teachers=None, **how):
    pool = toy_teachers() if teachers is None else teachers
    return train(pool, config, rng=seeded(seed), device=CPU, **how)


@cache
def undisturbed(config=SHORT):
    """What a run delivers that nobody looks at."""
    return run(config)


@cache
def saved_states():
    """What a whole run saves on its way."""
    saved = []
    run(save=saved.append)
    return saved


def identical(one, other) -> bool:
    same = [torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors]
    return one.tensors.keys() == other.tensors.keys() and all(same)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    assert identical(undisturbed(), run())
    assert not identical(undisturbed(), run(seed=1))


def test_saving_and_reporting_change_nothing():
    assert identical(undisturbed(), run(save=lambda _: None, report=lambda _: None))


@pytest.mark.parametrize("n_saved", [1, 2])
def test_an_interrupted_run_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path, n_saved):
    saved = []

    def stop(progress):
        if len(saved) == n_saved and progress.step > 2 * n_saved:
            raise Stopped

    with pytest.raises(Stopped):
        run(save=saved.append, report=stop)
    save_state(tmp_path / "state", saved[-1])
    resumed = run(seed=99, resume_from=load_state(tmp_path / "state"))
    assert identical(undisturbed(), resumed)


def test_a_run_stopped_while_its_memory_is_recovered_resumes_to_the_same_bits():
    saved = []

    def stop(progress):
        if progress.stage == "refresh memory":
            raise Stopped

    with pytest.raises(Stopped):
        run(save=saved.append, report=stop)
    assert identical(undisturbed(), run(resume_from=saved[-1]))


def test_a_state_of_another_config_or_pool_is_refused():
    state = saved_states()[-1]
    with pytest.raises(InvalidConfig, match="another config or pool"):
        run(replace(SHORT, outer_steps=6), resume_from=state)
    with pytest.raises(InvalidConfig, match="another config or pool"):
        run(teachers=toy_teachers()[:3], resume_from=state)


def test_a_state_holds_no_image_and_no_class_name():
    state = saved_states()[-1]
    image_numbers = 16 * 16
    sizes = {name: tensor.shape for name, tensor in state.tensors.items()}
    assert not [n for n, shape in sizes.items() if shape[-2:] == (16, 16)]
    owned = ("phi/", "theta/", "rng")
    assert all(name.startswith(owned) for name in sizes)
    assert image_numbers not in [shape[-1] for shape in sizes.values() if shape]
    assert "direction" not in str(state.scalars)


@pytest.mark.parametrize(
    "seconds",
    [
        {"recover": 1.0, "distill_in_rounds": 90.0, "replay_batch": 1.0},
        {"recover": 90.0, "distill_in_rounds": 1.0, "replay_batch": 1.0},
        {"recover": 1.0, "distill_in_rounds": 1.0, "replay_batch": 90.0},
    ],
)
def test_the_time_it_will_take_is_right_before_a_main_step_was_seen(monkeypatch, seconds):
    now_s, told = [0.0], []
    monkeypatch.setattr(progress.time, "thread_time", lambda: now_s[0])

    def slow(name, own_s):
        original = getattr(free, name)

        def slowed(*args, **named):
            now_s[0] += own_s
            return original(*args, **named)

        monkeypatch.setattr(free, name, slowed)

    for name, own_s in seconds.items():
        slow(name, own_s)
    # As many batches of replay as are reckoned with, and nothing recovered anew.
    usual = {"replay_max_batches": 7, "replay_patience": 7, "save_every": 100}
    monkeypatch.setattr(free, "USUAL_SHARE", 1.0)
    config = replace(SHORT, **usual, warm_up_steps=2, outer_steps=8)
    run(config, report=lambda at: told.append((now_s[0], at.fraction)))
    assert [elapsed_s / share for elapsed_s, share in told] == [pytest.approx(now_s[0])] * 8


def test_nothing_is_written_to_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run()
    assert list(tmp_path.iterdir()) == []


def test_each_outer_step_is_told_with_its_stage_share_and_metrics():
    told = []
    run(report=told.append)
    steps = [p for p in told if p.stage != "refresh memory"]
    assert [p.step for p in steps] == [1, 2, 3, 4, 5]
    assert [p.stage for p in steps] == ["warm-up"] + ["recover, align, replay"] * 4
    assert [p.metrics["recovered_tasks"] for p in steps] == [2, 4, 6, 8, 10]
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == pytest.approx(1.0)
    assert set(steps[-1].metrics) == {
        "recovery_loss",
        "recovery_accuracy",
        "recovered_tasks_per_s",
        "gradient_alignment",
        "distillation_loss",
        "replay_loss",
        "replay_accuracy",
        "recovered_tasks",
    }
    assert 0 <= steps[-1].metrics["recovery_accuracy"] <= 1
    assert -1 <= steps[-1].metrics["gradient_alignment"] <= 1


def test_a_report_that_raises_ends_the_run():
    def cancel(_):
        raise Stopped

    with pytest.raises(Stopped):
        run(report=cancel)


def test_teachers_are_never_written_to():
    before = [
        {n: t.clone() for n, t in teacher.module.state_dict().items()} for teacher in toy_teachers()
    ]
    run(replace(SHORT, bn_weight=0.1))
    for teacher, tensors in zip(toy_teachers(), before, strict=True):
        after = teacher.module.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in tensors.items())
        assert not any(layer._forward_hooks for layer in teacher.module.modules())


SWITCHES = [
    {"meta_generator": "fresh_adam"},
    {"meta_generator": "sgd"},
    {"meta_generator": "off"},
    {"accumulate": "all"},
    {"accumulate": "reptile"},
    {"adversarial": "inner_product"},
    {"adversarial": "js"},
    {"adversarial": "off"},
    {"candidates": 2},
    {"crop_fill": "reflect"},
    {"lr_decay": 0.1},
    {"precision": "bfloat16"},
    {"leaked_weights": True},
    {"bn_weight": 0.1},
    {"distillation": "inner_product"},
    {"inner_optimizer": "sgd"},
    {"memory": "last"},
    {"conditional": True},
    {"alignment_rounds": 2},
    {"inner_steps": 2},
    {"bell": False},
    {"replay": "off"},
    {"replay": "prototypical"},
    {"second_order": False},
    {"classes_are_private": True},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_each_switch_changes_what_is_learnt(switch):
    config = replace(SHORT, outer_steps=3)
    assert not identical(undisturbed(config), run(replace(config, **switch)))


WHERE_NOT_WHAT = {("precision", "auto")}  # one of the other two, as the machine has it


def test_every_choice_of_every_switch_is_tried_above():
    tried = {(name, value) for switch in SWITCHES for name, value in switch.items()}
    for name, choices in CHOICES.items():
        default = getattr(SHORT, name)
        if name not in ("backbone", "batched"):
            tried |= WHERE_NOT_WHAT
            assert {(name, choice) for choice in choices} - {(name, default)} <= tried


@pytest.mark.parametrize("switch", [{}, {"bn_weight": 0.1}, {"candidates": 2}], ids=str)
def test_tasks_and_episodes_computed_at_once_teach_what_a_loop_teaches(switch):
    config = replace(SHORT, outer_steps=2, **switch)
    loop = run(replace(config, batched="off"))
    at_once = run(replace(config, batched="on"))
    # Compared by its answers: a bias in front of BatchNorm has a gradient of mere rounding, which
    # Adam enlarges, and which changes no answer.
    images = torch.rand(20, 1, 16, 16, generator=seeded(3))
    answers = [learner.module()(images) for learner in (loop, at_once)]
    torch.testing.assert_close(*answers, atol=2e-2, rtol=0)
    assert (
        answers[0] - run(replace(config, batched="off", bell=False)).module()(images)
    ).abs().max() > 0.1


def test_the_published_aliasing_lets_one_teacher_answer_for_all_in_a_mixed_pool():
    pool = [
        *toy_teachers()[:2],
        toy_teacher(range(3), seed=9, backbone="resnet10", steps=1),
    ]
    config = replace(SHORT, aliased_teachers=True, tasks_per_step=4)
    mixed, alike = (begin(p, config, seeded(0), CPU) for p in (pool, toy_teachers()))
    assert all(len({task.teacher for task in draw_tasks(mixed)}) == 1 for _ in range(8))
    assert any(len({task.teacher for task in draw_tasks(alike)}) > 1 for _ in range(8))


def test_looking_at_the_learner_on_the_way_changes_nothing_and_shows_it_learning():
    looks = []
    whole = run(offer=lambda step, learner: looks.append((step, learner)))
    assert identical(whole, undisturbed())
    assert [step for step, _ in looks] == [2, 4]
    assert not identical(looks[0][1], looks[1][1])


@pytest.mark.parametrize("leaks", [False, True])
def test_a_resumed_run_remembers_the_weights_that_leaked(leaks):
    config = replace(SHORT, leaked_weights=leaks)
    saved = []
    whole = run(config, save=saved.append)
    held = [name for name in saved[0].tensors if name.startswith("leaked/")]
    assert bool(held) == leaks
    assert identical(whole, run(config, resume_from=saved[0]))


def test_a_pool_of_mixed_backbones_sizes_channels_and_ways_serves_any_task():
    pool = [
        *toy_teachers()[:2],
        toy_teacher(range(7), seed=9, backbone="resnet10", size=32, channels=3, steps=1),
    ]
    config = replace(SHORT, outer_steps=2, image_size=32)
    meta_learner = run(config, teachers=pool)
    assert (meta_learner.image_size, meta_learner.channels) == (32, 3)
    labels = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 6])
    support = torch.rand(11, 3, 40, 40, generator=seeded(0))
    answer = predict(meta_learner, support, labels, support[:4], n_way=7)
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(4))


def test_what_was_learnt_tells_unseen_classes_apart():
    images, labels = stripes((1, 2, 5, 7, 9), 20, size=16, channels=1, rng=seeded(0))
    meta_learner = run(replace(SHORT, outer_steps=8, replay="prototypical"))
    score = evaluate(
        meta_learner, images, labels, n_way=5, n_shot=5, n_query=10, episodes=20, rng=seeded(0)
    )
    assert score.mean > 0.4


def single_class_teacher() -> Teacher:
    teacher = toy_teachers()[0]
    return Teacher(
        module=teacher.module,
        backbone="conv4",
        class_names=("direction 0",),
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
    )


@pytest.mark.parametrize("n_good", [0, 1])
def test_a_pool_without_two_usable_teachers_says_what_it_needs(n_good):
    with pytest.raises(UnusablePool, match="at least 2 models"):
        run(teachers=[*toy_teachers()[:n_good], single_class_teacher()])


def test_the_statistics_term_needs_teachers_that_remember_statistics():
    bare = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    teacher = replace(toy_teachers()[0], module=bare.requires_grad_(False))
    run(replace(SHORT, outer_steps=2), teachers=[teacher, teacher])
    with pytest.raises(NoBatchNorm):
        run(replace(SHORT, bn_weight=1.0), teachers=[teacher, teacher])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_reached_by_its_name(preset):
    assert configure({"preset": preset}) == PRESETS[preset]
    assert ALGORITHMS["free"].configure({"preset": preset}) == PRESETS[preset]


def test_settings_change_a_preset_and_whole_numbers_may_stand_for_fractions():
    config = configure({"preset": "tiny", "outer_steps": 30, "bn_weight": 1, "image_size": 28})
    assert (config.outer_steps, config.bn_weight, config.image_size) == (30, 1.0, 28)
    assert type(config.bn_weight) is float
    assert configure({}) == FreeConfig()


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "huge"},
        {"unheard_of": 1},
        {"outer_steps": "many"},
        {"outer_steps": 0},
        {"outer_steps": 2.5},
        {"outer_steps": True},
        {"flip": 1},
        {"learner_lr": 0.0},
        {"learner_lr": float("nan")},
        {"bn_weight": -1.0},
        {"replay": "sometimes"},
        {"backbone": "transformer"},
        {"warm_up_steps": 1000},
        {"bell": False, "replay": "off"},
        {"images_per_class": 5},
        {"replay_ways": 6},
        {"replay_ways": 1},
        {"image_size": "large"},
    ],
    ids=str,
)
def test_settings_that_make_no_run_are_refused(settings):
    with pytest.raises(InvalidConfig):
        configure(settings)


def test_the_default_is_the_papers_run():
    paper = FreeConfig()
    assert (paper.outer_steps, paper.warm_up_steps, paper.tasks_per_step) == (1000, 20, 4)
    assert (paper.adapt_steps, paper.images_per_class, paper.generator_width) == (5, 20, 64)
    assert (paper.replay_episodes, paper.replay_patience, paper.replay_steps) == (10, 10, 5)


def test_every_field_says_what_it_is():
    source = Path(sys.modules["ml.algorithms.free_config"].__file__).read_text()
    for field in fields(FreeConfig):
        described = source.split(f"\n    {field.name}: ", 1)[1].split("\n")[1]
        assert described.strip().startswith('"""')


def test_large_images_shorten_the_memory_and_small_ones_do_not():
    def capacity(side):
        canvas = Canvas(image_size=side, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
        return memory_capacity(FreeConfig(), canvas)

    assert capacity(32) == 256
    assert 1 < capacity(224) < 40
    assert capacity(224) * 100 * 3 * 224**2 * 4 <= 2 << 30
