"""Honest checkpoints of every accepted form become safetensors with the very same numbers."""

import io
import json
import os
from collections import OrderedDict
from pathlib import Path

import airlock_forge as forge
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pool.airlock import Converted, Limits, convert

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


@pytest.fixture
def shared() -> Path:
    """The folder of real checkpoints; tests that need it are skipped elsewhere."""
    beside = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("MODELPOOL_SHARED", beside)) / "pools"
    if not folder.is_dir():
        pytest.skip("no shared pools here")
    return folder


class Small(nn.Module):
    """Convolution, BatchNorm and classifier: every kind of entry a state dict has."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        for parameter in self.parameters():
            parameter.data.normal_(generator=rng)


def converted(value: object, folder: Path, **options: object) -> tuple[Converted, Path]:
    source, target = folder / "upload.pt", folder / "canonical.safetensors"
    torch.save(value, source, **options)
    return convert(source, target), target


def order_of(target: Path) -> list[str]:
    with safe_open(target, "np") as file:
        return json.loads(file.metadata()["order"])


def header_of(target: Path) -> dict[str, dict[str, object]]:
    data = target.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def assert_same(target: Path, expected: dict[str, torch.Tensor]) -> None:
    actual = load_file(target)
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert actual[name].shape == tensor.shape
        assert torch.equal(actual[name], tensor), name


def test_a_state_dict_keeps_its_numbers_names_and_order(tmp_path: Path) -> None:
    state = Small().state_dict()
    report, target = converted(state, tmp_path)
    assert_same(target, state)
    assert order_of(target) == list(state)
    assert list(header_of(target)) == ["__metadata__", *state]
    assert report == Converted(
        source_format="torch-zip",
        order_is_known=True,
        n_tensors=9,
        n_parameters=4 * 27 + 4 + 4 * 4 + 1 + 8 + 2,
        dropped=(),
    )


def test_metadata_name_the_format_and_the_origin(tmp_path: Path) -> None:
    _, target = converted(Small().state_dict(), tmp_path)
    with safe_open(target, "np") as file:
        metadata = file.metadata()
    assert metadata.pop("order")
    assert metadata == {
        "format": "modelpool-1",
        "source_format": "torch-zip",
        "order_is_known": "true",
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_kept_bit_by_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.arange(-3, 9).reshape(3, 4)
    state = {"w": values.clamp(0, 1).to(dtype) if dtype is torch.bool else values.abs().to(dtype)}
    _, target = converted(state, tmp_path)
    assert_same(target, state)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "teacher"])
def test_a_training_checkpoint_yields_its_model_and_names_what_was_left_out(
    key: str, tmp_path: Path
) -> None:
    model = Small()
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(4, 4), "exp_avg_sq": torch.ones(4)}
    adam = {
        "state": dict.fromkeys(range(6), moments),
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1, 2]}],
    }
    beside = {
        "epoch": 3,
        "loss": 0.25,
        "best": np.float64(0.5),
        "classes": [3, 1, 4],
        "lr": {"step": 2**40},
        "shape": torch.Size([2, 3]),
        "dtype": torch.float16,
        "seen": {1, 2},
        "rng": torch.get_rng_state(),
        "optimizer": adam,
    }
    report, target = converted({**beside, key: model.state_dict()}, tmp_path)
    assert_same(target, model.state_dict())
    assert report.dropped == tuple(beside)


def test_the_first_wrapper_that_holds_tensors_is_taken(tmp_path: Path) -> None:
    value = {"model": {"b": torch.ones(1)}, "state_dict": {"a": torch.zeros(1)}, "teacher": {}}
    _, target = converted(value, tmp_path)
    assert order_of(target) == ["a"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_pickle_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    state = Small().state_dict()
    _, target = converted(state, tmp_path, pickle_protocol=protocol)
    assert_same(target, state)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_prefixes_of_wrappers_are_stripped(prefix: str, tmp_path: Path) -> None:
    state = Small().state_dict()
    report, target = converted({prefix + name: t for name, t in state.items()}, tmp_path)
    assert_same(target, state)
    assert report.dropped == ()


def test_a_model_with_one_part_called_module_keeps_its_names(tmp_path: Path) -> None:
    state = {"module.w": torch.ones(1), "head.w": torch.zeros(1)}
    _, target = converted(state, tmp_path)
    assert_same(target, state)


def test_a_compiled_part_loses_its_prefix_within_the_name(tmp_path: Path) -> None:
    _, target = converted({"a._orig_mod.w": torch.ones(1), "b": torch.ones(2)}, tmp_path)
    assert order_of(target) == ["a.w", "b"]


def test_parameters_are_read_like_tensors(tmp_path: Path) -> None:
    model = Small()
    named = OrderedDict(model.named_parameters())
    named["fc.bias"].note = "an attribute"
    _, target = converted(named, tmp_path)
    assert_same(target, {name: p.detach() for name, p in named.items()})


def test_a_second_name_for_the_same_tensor_is_dropped(tmp_path: Path) -> None:
    shared_weight = torch.arange(6.0).reshape(2, 3)
    state = {"a": shared_weight, "b": shared_weight, "c": shared_weight.clone()}
    report, target = converted(state, tmp_path)
    assert_same(target, {"a": shared_weight, "c": shared_weight})
    assert report.dropped == ("b",)


def test_the_list_of_what_was_dropped_is_bounded(tmp_path: Path) -> None:
    beside = {f"{i:03d}" + "x" * 200: i for i in range(100)}
    report, _ = converted({"w": torch.ones(1), **beside}, tmp_path)
    assert len(report.dropped) == 33
    assert report.dropped[-1] == "and 68 more"
    assert max(map(len, report.dropped)) == 80


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.t(),
        lambda t: t.permute(1, 0),
        lambda t: t[:, 1:3],
        lambda t: t[::2],
        lambda t: t[1:],
        lambda t: t[:, :1],
        lambda t: t[0, 0],
        lambda t: t[:0],
        lambda t: t.reshape(2, 3, 2, 5).contiguous(memory_format=torch.channels_last),
        lambda t: t.reshape(1, 6, 1, 10).transpose(1, 3),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_strides_are_brought_into_row_major_order(view, dtype, tmp_path: Path) -> None:
    state = {"w": view(torch.arange(60.0).reshape(6, 10).to(dtype))}
    source, target = tmp_path / "upload", tmp_path / "canonical"
    torch.save(state, source)
    convert(source, target, limits=Limits(block_bytes=16))
    assert_same(target, state)


def test_disjoint_views_of_one_storage_are_all_kept(tmp_path: Path) -> None:
    flat = torch.arange(1000.0)
    state = {f"w{i}": flat[10 * i : 10 * i + 10] for i in range(100)}
    _, target = converted(state, tmp_path)
    assert_same(target, state)


def test_safetensors_keep_their_numbers_and_admit_that_their_order_is_unknown(
    tmp_path: Path,
) -> None:
    state = {"z": torch.ones(3).half(), "a": torch.arange(4), "m": torch.zeros(2, 0)}
    save_file(state, tmp_path / "upload", metadata={"author": "someone"})
    report = convert(tmp_path / "upload", tmp_path / "canonical")
    assert_same(tmp_path / "canonical", state)
    assert (report.source_format, report.order_is_known) == ("safetensors", False)


@pytest.mark.parametrize("length", [640, 35_615])
def test_a_safetensors_header_whose_length_looks_like_another_format_is_read(
    length: int, tmp_path: Path
) -> None:
    """640 is a pickle's first two bytes, 35,615 gzip's."""
    header = json.dumps({"w": forge.entry("F32", [4], 0, 16)}).encode()
    data = forge.safetensors(header.ljust(length), forge.FLOATS_4)
    (tmp_path / "upload").write_bytes(data)
    assert convert(tmp_path / "upload", tmp_path / "canonical").n_parameters == 4


def test_numbers_lie_at_multiples_of_their_size_whatever_the_order_of_names(
    tmp_path: Path,
) -> None:
    state = {
        "a": torch.ones(3, dtype=torch.int8),
        "b": torch.ones(1, dtype=torch.float64),
        "c": torch.ones(1, dtype=torch.float16),
        "d": torch.ones(1),
    }
    _, target = converted(state, tmp_path)
    header = header_of(target)
    begins = {name: header[name]["data_offsets"][0] for name in state}
    assert begins == {"b": 0, "d": 8, "c": 12, "a": 14}
    assert int.from_bytes(target.read_bytes()[:8], "little") % 8 == 0


def test_converting_the_canonical_file_again_changes_no_number(tmp_path: Path) -> None:
    state = Small().state_dict()
    _, target = converted(state, tmp_path)
    convert(target, tmp_path / "again")
    assert_same(tmp_path / "again", state)


def test_a_running_variance_of_zero_or_minus_zero_is_no_negative_variance(tmp_path: Path) -> None:
    zeros = torch.tensor([0.0, -0.0])
    state = {"a.running_var": zeros, "b.running_var": zeros.bfloat16()}
    _, target = converted(state, tmp_path)
    assert_same(target, state)


def test_the_largest_finite_bfloat16_is_finite(tmp_path: Path) -> None:
    extreme = torch.finfo(torch.bfloat16)
    state = {"w": torch.tensor([extreme.max, extreme.min, extreme.tiny]).bfloat16()}
    _, target = converted(state, tmp_path)
    assert_same(target, state)


def test_a_zip_by_another_writer_with_sizes_in_local_headers_is_read(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(forge.valid_zip())
    convert(tmp_path / "upload", tmp_path / "canonical")
    values = load_file(tmp_path / "canonical")["fc.weight"]
    assert values.tolist() == [[1.0, -2.0], [3.5, 0.25]]


def test_a_deeply_nested_but_harmless_part_is_ignored(tmp_path: Path) -> None:
    nested: list[object] = []
    for _ in range(40):
        nested = [nested, 1]
    _, target = converted({"w": torch.ones(2), "log": nested}, tmp_path)
    assert_same(target, {"w": torch.ones(2)})


@pytest.mark.parametrize(
    "name",
    [
        "bfloat16.pt",
        "channels_last.pt",
        "few_shot_code_naming.pth",
        "half.pt",
        "sequential_naming.pt",
        "training_checkpoint.pt",
    ],
)
def test_a_real_clients_checkpoint_equals_what_torch_reads(
    name: str, shared: Path, tmp_path: Path
) -> None:
    source, target = shared / "other_forms" / name, tmp_path / "canonical"
    report = convert(source, target)
    read = torch.load(source, weights_only=True)  # noqa: TID251 - the independent reference
    state = read.get("teacher", read.get("model_state_dict", read))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    kept = {name: state[name] for name in order_of(target)}
    assert_same(target, kept)
    aliases = [name for name in state if name not in kept]
    assert set(aliases) <= set(report.dropped)
    pointers = {tensor.data_ptr() for tensor in kept.values()}
    assert all(state[name].data_ptr() in pointers for name in aliases)
    assert order_of(target) == [name for name in state if name not in aliases]


def test_a_real_pool_model_equals_what_safetensors_reads(shared: Path, tmp_path: Path) -> None:
    source = shared / "cifarfs_conv4" / "cifarfs-conv4-000.safetensors"
    convert(source, tmp_path / "canonical")
    assert_same(tmp_path / "canonical", load_file(source))


def test_nothing_but_the_target_is_written(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(Small().state_dict(), buffer)
    (tmp_path / "upload").write_bytes(buffer.getvalue())
    convert(tmp_path / "upload", tmp_path / "canonical")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canonical", "upload"]
    assert (tmp_path / "upload").read_bytes() == buffer.getvalue()
