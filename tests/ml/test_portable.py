"""What is taken along answers as the server does: the script, which needs torch, and ONNX."""

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from toy_pool import seeded, toy_teachers

from ml.backbones import BACKBONES, build, initialize
from ml.ensemble import EnsembleLearner
from ml.errors import NotPortable
from ml.fewshot import classifier_for, decode_image, predict
from ml.learner import PUBLISHED, Adaptation, MetaLearner
from ml.portable.graph import operations
from ml.portable.learner import (
    Portable,
    archive,
    encoder_operations,
    portable_adaptation,
    portable_learner,
)
from ml.portable.onnx_file import to_onnx
from ml.portable.script import encoder_source
from ml.projection import Projection

SIDE = 32
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


def learner(
    backbone: str = "conv4", *, projection: str = "hidden", **adaptation: Any
) -> MetaLearner:
    """Untrained, with statistics of its own."""
    module = build(backbone, n_classes=5, channels=3, image_size=SIDE)
    initialize(module, seeded(0))
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # what it saw, so that signals neither fade nor grow
    with torch.no_grad():
        module.train()(torch.rand(16, 3, SIDE, SIDE, generator=seeded(1)))
    width = module.feature_dim
    projections = {
        "none": None,
        "linear": Projection(weight=torch.randn(12, width, generator=seeded(2))),
        "hidden": Projection(
            weight=torch.randn(12, 20, generator=seeded(2)),
            offset=torch.randn(12, generator=seeded(3)),
            hidden=torch.randn(20, width, generator=seeded(4)),
            hidden_offset=torch.randn(20, generator=seeded(5)),
        ),
    }
    return MetaLearner(
        backbone=backbone,
        n_way=5,
        image_size=SIDE,
        channels=3,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        tensors=module.state_dict(),
        adaptation=Adaptation(**adaptation),
        projection=projections[projection],
    )


def images(n: int, seed: int, side: int = SIDE) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=seeded(seed))


def unpacked(portable: Portable, into: Path) -> ModuleType:
    """The archive's script, imported from where it lies."""
    with zipfile.ZipFile(io.BytesIO(archive(portable))) as packed:
        packed.extractall(into)
    spec = importlib.util.spec_from_file_location("taken_along", into / "predict.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_onnx(portable: Portable, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(
        to_onnx(portable, encoder_operations(portable)), providers=["CPUExecutionProvider"]
    )
    (rows,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return torch.from_numpy(rows)


FORMS: dict[str, Callable[[], MetaLearner]] = {
    "blended": learner,
    "support": lambda: learner(batch_statistics="support"),
    "running": lambda: learner(batch_statistics="running", centre="none", temperature=0.5),
    "no projection": lambda: learner(projection="none"),
    "linear projection": lambda: learner(projection="linear"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_meta_learner_taken_along_adapts_and_answers_as_the_server_does(
    form: str, tmp_path: Path
) -> None:
    meta_learner = FORMS[form]()
    support, queries = images(7, 3), images(5, 4)
    expected = predict(meta_learner, support, LABELS, queries, n_way=3)
    portable = portable_learner(meta_learner)
    module = unpacked(portable, tmp_path)
    loaded = module.load(tmp_path / "learner.safetensors")
    found = module.predict(loaded, queries, support, LABELS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    rows = in_onnx(portable, support=support, labels=LABELS, queries=queries)
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_adapted_and_taken_along_answers_as_the_server_does(
    backbone: str, tmp_path: Path
) -> None:
    meta_learner = learner(backbone, projection="none" if backbone == "conv4" else "hidden")
    support, queries = images(7, 3), images(4, 4)
    classifier = classifier_for(meta_learner, support, LABELS, n_way=3)
    expected = classifier.answer(queries).probabilities
    portable = portable_adaptation(meta_learner, classifier, ("a", "b", "c"))
    module = unpacked(portable, tmp_path)
    loaded = module.load(tmp_path / "learner.safetensors")
    assert loaded["classes"] == ["a", "b", "c"]
    torch.testing.assert_close(module.predict(loaded, queries), expected, atol=2e-4, rtol=1e-3)
    rows = in_onnx(portable, queries=queries)
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-3)


def test_images_of_other_sizes_and_depths_and_large_support_sets_are_taken(tmp_path: Path) -> None:
    meta_learner = learner()
    support, queries = images(300, 3, side=40), images(3, 4, side=50)[:, :1]
    labels = torch.arange(300) % 3
    expected = predict(meta_learner, support, labels, queries, n_way=3)
    module = unpacked(portable_learner(meta_learner), tmp_path)
    found = module.predict(module.load(tmp_path / "learner.safetensors"), queries, support, labels)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-2)


def picture(path: Path, seed: int) -> torch.Tensor:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = (images(1, seed, side=45)[0] * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(noise)).save(path)
    return decode_image(path.read_bytes(), size=SIDE, channels=3)


def test_the_script_alone_labels_folders_of_images_as_the_server_does(tmp_path: Path) -> None:
    """In a process that sees nothing of this project."""
    meta_learner, home = learner(), tmp_path / "home"
    unpacked(portable_learner(meta_learner), home)
    shown = [picture(tmp_path / "classes" / "cat" / f"{n}.png", n) for n in range(3)]
    shown += [picture(tmp_path / "classes" / "dog" / f"{n}.png", 10 + n) for n in range(2)]
    asked = [picture(tmp_path / "asked" / f"{n}.png", 20 + n) for n in range(3)]
    ran = subprocess.run(
        [
            *(sys.executable, "-I", home / "predict.py"),
            *("--support", tmp_path / "classes", "--query", tmp_path / "asked"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    labels = torch.tensor([0, 0, 0, 1, 1])
    rows = predict(meta_learner, torch.stack(shown), labels, torch.stack(asked), n_way=2)
    expected = [
        f"{n}.png\t{('cat', 'dog')[int(row.argmax())]}\t{float(row.max()):.3f}"
        for n, row in enumerate(rows)
    ]
    assert ran.stdout.splitlines() == expected


def test_what_it_cannot_do_it_says(tmp_path: Path) -> None:
    module = unpacked(portable_learner(learner()), tmp_path)
    loaded = module.load(tmp_path / "learner.safetensors")
    with pytest.raises(ValueError, match="needs support images"):
        module.predict(loaded, images(1, 0))
    with pytest.raises(ValueError, match="at least two classes"):
        module.predict(loaded, images(1, 0), images(2, 1), [0, 2])
    ran = subprocess.run(
        [sys.executable, "-I", tmp_path / "predict.py", "--query", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "--support" in ran.stderr) == (1, True)


def test_the_script_imports_nothing_but_torch_and_pillow() -> None:
    portable = portable_learner(learner())
    with zipfile.ZipFile(io.BytesIO(archive(portable))) as packed:
        text = packed.read("predict.py").decode()
    imported = {
        line.split()[1].split(".")[0]
        for line in map(str.strip, text.splitlines())
        if line.startswith(("import ", "from "))
    }
    assert imported == {"argparse", "json", "struct", "sys", "pathlib", "torch", "PIL"}


def test_equal_learners_are_equal_archives_and_files() -> None:
    first, second = (portable_learner(learner()) for _ in range(2))
    assert archive(first) == archive(second)
    assert to_onnx(first, encoder_operations(first)) == to_onnx(second, encoder_operations(second))


def test_nobody_takes_a_pools_own_models_along() -> None:
    ensemble = EnsembleLearner(members=toy_teachers(), teachers_asked=0, answer_temperature=2.0)
    with pytest.raises(NotPortable, match="own models"):
        portable_learner(ensemble)
    with pytest.raises(NotPortable, match="class means"):
        portable_learner(replace(learner(), adaptation=PUBLISHED))


def test_a_network_with_an_unknown_operation_is_refused_by_name() -> None:
    odd = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Softplus()).eval()
    with pytest.raises(NotPortable, match="softplus"):
        operations(odd, channels=3, image_size=SIDE)


def test_operations_that_write_over_their_input_are_written_down_as_what_they_come_to() -> None:
    class Odd(torch.nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            first = torch.relu(given)
            second = first.add_(given)
            return first * second

    module = Odd().eval()
    names: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    exec(encoder_source(operations(module, channels=3, image_size=SIDE)), names)
    given = images(2, 0) - 0.5
    assert torch.equal(names["encode"](given, {}), module(given))


def test_the_archive_says_what_it_holds() -> None:
    with zipfile.ZipFile(io.BytesIO(archive(portable_learner(learner())))) as packed:
        assert packed.namelist() == ["learner.safetensors", "predict.py", "README.txt"]
        head = packed.read("learner.safetensors")
    length = int.from_bytes(head[:8], "little")
    described = json.loads(json.loads(head[8 : 8 + length])["__metadata__"]["portable"])
    assert described["batch_statistics"] == "blended"
    assert "classes" not in described
