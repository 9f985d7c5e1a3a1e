"""The served meta-learner beside what needs no meta-learner, on the same episodes."""

from demo import baselines, report
from demo.api import Record
from demo.episodes import Draw, Slides
from demo.plan import N_QUERY, SHOTS, Plan
from demo.story import Story


def compare(
    plan: Plan,
    learner: Record,
    ours: dict[int, list[float]],
    slides: Slides,
    draws: dict[int, list[Draw]],
    story: Story,
) -> None:
    """The same episodes without a meta-learner; the table; the verdict."""
    theirs = measure_baselines(plan, learner, slides, draws, story)
    columns = [f"{plan.n_way}-way accuracy in %", *(f"{n_shot}-shot" for n_shot in SHOTS)]
    rows = report.table_rows({report.META_LEARNER: ours, **theirs}, SHOTS)
    story.table(columns, rows)
    story.say(f"mean ± 95 % interval, {plan.episodes} episodes, {N_QUERY} queries a class")
    for n_shot in SHOTS:
        best = report.best_baseline(theirs, n_shot)
        difference = report.paired_difference(ours[n_shot], theirs[best][n_shot])
        sentence = report.verdict(
            difference,
            baseline=best,
            build=f"{plan.algorithm} {plan.preset!r} build",
            subject=plan.subject,
        )
        story.say(f"{n_shot}-shot: {sentence}")


def measure_baselines(
    plan: Plan, learner: Record, slides: Slides, draws: dict[int, list[Draw]], story: Story
) -> dict[str, dict[int, list[float]]]:
    """Accuracy per episode and number of shots, by baseline."""
    size, channels = learner["image_size"], learner["channels"]
    images = slides.tensors(size=size, channels=channels)
    checkpoints = plan.checkpoints()
    manifests = [checkpoint.manifest for checkpoint in checkpoints]
    features = baselines.teacher_features(checkpoints, images, story)
    found: dict[str, dict[int, list[float]]] = {
        baselines.RANDOM: {
            k: baselines.random_accuracies(learner, manifests, images, draws[k]) for k in SHOTS
        },
        baselines.PIXELS: {k: baselines.pixel_accuracies(images, draws[k]) for k in SHOTS},
    }
    best = {k: baselines.best_teacher(features, draws[k]) for k in SHOTS}
    teachers = {k: teacher for k, teacher in best.items() if teacher is not None}
    if teachers:
        found[baselines.TEACHER] = {k: teacher.accuracies for k, teacher in teachers.items()}
        chosen = ", ".join(f"{teacher.name} for {k}-shot" for k, teacher in teachers.items())
        story.say(
            f"The best of {len(features)} single teachers is chosen with hindsight on these very "
            f"episodes ({chosen}), which favours it; a meta-learner has to beat it."
        )
    else:
        story.say("No single teacher: the pool has no .safetensors file this side could read.")
    return found
