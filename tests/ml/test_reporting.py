"""A build's report: fair questions, the served path, honest warnings, a bounded cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy_pool import CPU, seeded, stripes, toy_teachers

from ml.algorithms.ensemble import EnsembleConfig, train
from ml.canvas import choose_canvas
from ml.ensemble import EnsembleLearner
from ml.errors import UnusablePool
from ml.evaluation import calibration_error, random_initialisation, serving
from ml.learner import MetaLearner
from ml.reporting import ahead, report
from ml.reporting.candidates import BASELINES, LEARNER, beside_one_another, each_alone
from ml.reporting.exams import Exam, Question, validation_exam
from ml.reporting.packing import Validation
from ml.reporting.pictures import draw_pictures, label, recovered_exam
from ml.reporting.report import Confidences, by_domain, make_report, unbeaten
from ml.reporting.sitting import choose_panel, flops_of, sit
from ml.reporting.size import ReportSize, size_for
from ml.types import Progress, Teacher

SMALL = ReportSize(pictures=200, episodes=10, teacher_flops=1e12)


def ensemble_of(teachers: Sequence[Teacher], *, asked: int) -> EnsembleLearner:
    return train(teachers, EnsembleConfig(teachers_asked=asked), rng=seeded(0), device=CPU)


def untrained(seed: int = 0) -> MetaLearner:
    """A network that learnt nothing, for the toy pool's images."""
    canvas = choose_canvas(toy_teachers(), image_size=None, channels=None)
    like = MetaLearner(
        backbone="conv4",
        n_way=2,
        image_size=canvas.image_size,
        channels=canvas.channels,
        mean=canvas.mean,
        std=canvas.std,
        tensors={"x": torch.zeros(1)},
    )
    return random_initialisation(like, seeded(seed))


@pytest.fixture(scope="module")
def exam() -> Exam:
    teachers = toy_teachers()
    canvas = choose_canvas(teachers, image_size=None, channels=None)
    return recovered_exam(teachers, canvas, pictures=200, episodes=10, rng=seeded(5))


def all_questions(exam: Exam) -> Iterator[tuple[int, Question]]:
    for n_shot, questions in exam.questions.items():
        for question in questions:
            yield n_shot, question


# Fair questions.


def test_a_question_shows_each_picture_once_and_its_labels_are_its_labellers_answers(
    exam: Exam,
) -> None:
    teachers = toy_teachers()
    for _, question in all_questions(exam):
        assert question.labeller is not None
        assert len(question.rows.unique()) == question.rows.numel()
        logits = teachers[question.labeller].logits(exam.images[question.rows.flatten()])
        said = logits.log_softmax(dim=1).view(*question.rows.shape, -1).mean(dim=1)
        # Of the pictures of a class its labeller is surer of that class than of the others'.
        best = (said - said.mean(dim=0)).argmax(dim=1)
        assert len(best.unique()) == exam.n_way


def test_nobody_labels_a_picture_that_was_refined_towards_it() -> None:
    teachers = toy_teachers()
    canvas = choose_canvas(teachers, image_size=None, channels=None)
    drawn = draw_pictures(teachers, canvas, count=200, rng=seeded(1), tell=lambda: None)
    assert set().union(*drawn.seen_by) == {0, 1, 2, 3}
    for place, teacher in enumerate(teachers):
        for row in label(teacher, place, drawn, n_way=3, rng=seeded(2)).flatten().tolist():
            assert place not in drawn.seen_by[row]


def test_what_a_labeller_says_itself_counts_for_nobody() -> None:
    """The labeller's vector gives the answer away; the other's is noise."""
    rows = torch.arange(60).view(3, 20)
    giveaway = 9.0 * F.one_hot(torch.arange(3).repeat_interleave(20), 3)
    noise = torch.randn(60, 3, generator=seeded(0))
    of_teacher_0 = Question(rows=rows, labeller=0)
    parts = {0: giveaway, 1: noise}
    assert beside_one_another(parts)(replace(of_teacher_0, labeller=None), 5) > 0.9
    alone = beside_one_another({1: noise})(replace(of_teacher_0, labeller=None), 5)
    assert beside_one_another(parts)(of_teacher_0, 5) == alone < 0.7
    assert each_alone(parts, [(of_teacher_0, 5)]).isnan().flatten().tolist() == [True, False]


def test_an_ensemble_is_examined_as_the_server_would_ask_it_without_the_labeller(
    exam: Exam,
) -> None:
    teachers = toy_teachers()
    learner = ensemble_of(teachers, asked=2)
    panel = choose_panel(teachers, images=300, most_flops=1e12, rng=seeded(0))
    results = sit(exam, learner, teachers, panel, rng=seeded(3), tell=lambda _: None)
    for n_shot, questions in exam.questions.items():
        expected = []
        for question in questions:
            kept = [m for place, m in enumerate(learner.members) if place != question.labeller]
            episode = exam.episode(question, n_shot)
            served = serving(replace(learner, members=tuple(kept)))(episode)
            expected.append(float((served.argmax(1) == episode.query_labels).double().mean()))
        torch.testing.assert_close(results[LEARNER][n_shot], torch.tensor(expected))


def test_validation_questions_fit_whatever_images_there_are() -> None:
    labels = torch.tensor([7] * 4 + [9] * 30)
    made = validation_exam(torch.rand(34, 1, 16, 16), labels, episodes=9, rng=seeded(0))
    assert made.n_way == 2
    assert [*made.questions] == [1]  # five shots would leave the smaller class no query
    for _, question in all_questions(made):
        assert question.rows.shape == (2, 4)  # one support image, three queries
        assert len({*labels[question.rows[0]].tolist(), *labels[question.rows[1]].tolist()}) == 2
        assert len(question.rows.unique()) == 8


# What it says.


def test_a_seed_gives_one_report_and_another_seed_another() -> None:
    teachers, learner = toy_teachers(), untrained()
    first, again, other = (
        make_report(learner, teachers, rng=seeded(seed), size=SMALL) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_network_that_learnt_nothing_is_warned_about_and_a_pool_that_knows_is_not() -> None:
    """Truth by construction: stripes that the teachers were trained on, labelled by direction."""
    directions = (0, 3, 6, 8)
    images, labels = stripes(directions, 30, size=16, channels=1, rng=seeded(9))
    teachers = toy_teachers()
    validation = Validation(images=images, labels=labels)
    poor, good = (
        make_report(
            learner,
            teachers,
            rng=seeded(1),
            size=replace(SMALL, episodes=30),
            validation=validation,
        )
        for learner in (untrained(), ensemble_of(teachers, asked=2))
    )
    unbeaten_by_poor = {each.get("baseline") for each in poor["warnings"]}
    assert {"random_initialisation", "best_teacher", "pool_answers"} <= unbeaten_by_poor
    assert "random_initialisation" not in {each.get("baseline") for each in good["warnings"]}
    level = {
        name: each["estimate"]["shots"]["1"]["accuracy"]
        for name, each in (("poor", poor), ("good", good))
    }
    assert level["good"] > level["poor"]
    assert poor["estimate"]["kind"] == "validation"
    assert [each["name"] for each in poor["baselines"]] == [*BASELINES]


def test_a_warning_rests_on_the_interval_of_the_paired_difference() -> None:
    """Ours is 2 points better in each episode, however much episodes differ: shown. Then not."""
    hardness = torch.rand(100, generator=seeded(0))
    better = {LEARNER: {1: hardness + 0.02}, "pixels": {1: hardness}}
    assert unbeaten("pixels", better) is None
    wobble = 0.3 * torch.randn(100, generator=seeded(1))
    doubtful = {LEARNER: {1: hardness + 0.02 + wobble - wobble.mean()}, "pixels": {1: hardness}}
    warning = unbeaten("pixels", doubtful)
    assert warning is not None
    half_width = 100 * 1.96 * float(wobble.std()) / 10
    assert f"+2.0 ± {half_width:.1f} points at 1-shot" in warning["message"]
    assert warning["code"] == "baseline-not-beaten"


def test_without_data_the_report_says_that_its_level_is_not_to_be_trusted() -> None:
    made = make_report(untrained(), toy_teachers(), rng=seeded(1), size=SMALL)
    assert made["estimate"]["kind"] == "recovered"
    assert made["warnings"][0]["code"] == "level-not-trustworthy"
    for each in (made["estimate"], *made["baselines"]):
        assert [*each["shots"]] == ["1", "5"]
        for score in each["shots"].values():
            low, high = score["interval"]
            assert 0 <= low <= score["accuracy"] <= high <= 1


@pytest.mark.parametrize("kind", ["network", "ensemble"])
def test_calibration_is_told_of_the_learners_own_probabilities(kind: str) -> None:
    teachers = toy_teachers()
    learner = untrained() if kind == "network" else ensemble_of(teachers, asked=2)
    exam = recovered_exam(
        teachers,
        choose_canvas(teachers, image_size=None, channels=None),
        pictures=SMALL.pictures,
        episodes=SMALL.episodes,
        rng=seeded(1),
    )
    seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    panel = choose_panel(teachers, images=10, most_flops=1e18, rng=seeded(2))
    results = sit(
        exam,
        learner,
        teachers,
        panel,
        rng=seeded(3),
        tell=lambda _: None,
        note=lambda *told: seen.append(told),
    )
    confidences = Confidences()
    for told in seen:
        confidences(*told)
    for n_shot, accuracies in results[LEARNER].items():
        each = [(p.argmax(dim=1) == wanted).float().mean() for n, p, wanted in seen if n == n_shot]
        torch.testing.assert_close(torch.stack(each), accuracies)
        assert 0 <= confidences.errors()[str(n_shot)] <= 1
    assert all(torch.allclose(p.sum(dim=1), torch.ones(len(p))) for _, p, _ in seen)


def test_the_calibration_error_is_the_distance_of_confidence_and_frequency() -> None:
    confidence = torch.cat([torch.full((10,), 0.9), torch.full((30,), 0.5)])
    right = torch.cat([torch.ones(6), torch.zeros(4), torch.ones(15), torch.zeros(15)])
    assert calibration_error(confidence, right) == pytest.approx(10 / 40 * 0.3, abs=1e-6)


def test_accuracy_by_domain_is_over_the_questions_that_its_teachers_label() -> None:
    rows = torch.zeros(2, 3, dtype=torch.int64)
    labellers = [0, 1, 2, 0, 1, 2]
    exam = Exam(
        kind="recovered",
        images=torch.zeros(3, 1, 16, 16),
        n_way=2,
        questions={1: [Question(rows=rows, labeller=each) for each in labellers]},
    )
    results = {LEARNER: {1: torch.tensor([0.2, 0.9, 0.4, 0.4, 0.7, 0.6])}}
    found = by_domain(exam, results, ("x-ray", "retina", "x-ray"))
    assert found["x-ray"]["1"]["accuracy"] == pytest.approx(0.4)
    assert found["retina"]["1"]["accuracy"] == pytest.approx(0.8)
    assert by_domain(exam, results, ("x-ray", None, "x-ray")) == {}
    assert by_domain(exam, results, ()) == {}


def test_a_pool_of_one_usable_model_has_no_estimate() -> None:
    single = replace(toy_teachers()[0], class_names=("all",))
    with pytest.raises(UnusablePool, match="two models"):
        make_report(untrained(), [toy_teachers()[0], single], rng=seeded(0), size=SMALL)


# What it costs.


def test_operations_are_those_of_the_layers() -> None:
    """Conv4 of 32 filters at 16 pixels, one channel, then 3 classes, by hand."""
    convolutions = 32 * 9 * (1 * 256 + 32 * 64 + 32 * 16 + 32 * 4)
    assert flops_of(toy_teachers()[0]) == 2 * (convolutions + 32 * 3)


def test_a_panel_keeps_to_its_operations_but_asks_eight() -> None:
    teachers = toy_teachers() * 5
    one = flops_of(teachers[0])
    for most, asked in ((13.5, 13), (2, 8), (1000, 20)):
        panel = choose_panel(teachers, images=10, most_flops=float(most * 10 * one), rng=seeded(0))
        assert len(panel.teachers) == asked


def test_a_short_build_gets_a_short_report_and_a_long_one_a_full_one() -> None:
    assert size_for(1_000).episodes == 10
    assert size_for(10_000_000) == ReportSize()


def test_progress_counts_the_report_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of 100 s and a report of 50 s: half of the build is a third of the work."""
    now = [0.0]
    monkeypatch.setattr(ahead.time, "perf_counter", lambda: now[0])
    told: list[float] = []
    tell = ahead.Ahead(lambda p: told.append(p.fraction), 50.0, resumed=False)
    for at, fraction in ((50.0, 0.5), (100.0, 1.0)):
        now[0] = at
        tell(Progress(stage="distil", step=1, total_steps=2, fraction=fraction))
    tell(Progress(stage=report.STAGE, step=1, total_steps=2, fraction=0.5))
    tell(Progress(stage=report.STAGE, step=2, total_steps=2, fraction=1.0))
    assert told == pytest.approx([1 / 3, 2 / 3, 5 / 6, 1.0])


def test_answers_too_sure_and_too_unsure_do_not_make_up_for_one_another() -> None:
    confidence, right = torch.tensor([0.95, 0.05]), torch.tensor([0.0, 1.0])
    assert calibration_error(confidence, right) == pytest.approx(0.95)
