"""Any bytes, and any change to an honest file, end in a result or in a refusal."""

import tempfile
from pathlib import Path

import airlock_forge as forge
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from pool.airlock import Limits, Refused, convert

PICKLE = forge.pickled(
    forge.dict_of(
        {
            "state_dict": forge.dict_of(
                {
                    "a": forge.tensor(shape=(2, 1), strides=(1, 1)),
                    "b": forge.tensor(offset=2, shape=(2,), strides=(1,)),
                }
            ),
            "epoch": b"K\x03",
        }
    )
)
HEADER = forge.valid_safetensors()[8:-16]

fuzzed = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def survives(data: bytes) -> bool:
    """Whether the file is accepted; what is accepted, safetensors itself must read."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "upload", Path(folder) / "canonical"
        source.write_bytes(data)
        try:
            report = convert(source, target, limits=Limits(max_pickle_ops=10_000))
        except Refused:
            assert not target.exists()
            return False
        tensors = load_file(target)
        assert len(tensors) == report.n_tensors
        assert sum(tensor.numel() for tensor in tensors.values()) == report.n_parameters
        return True


@st.composite
def changes(draw: st.DrawFn, original: bytes, alphabet: st.SearchStrategy[int]) -> bytes:
    """The original with one to four pieces overwritten, inserted, removed or repeated."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        piece = bytes(draw(st.lists(alphabet, max_size=8)))
        match draw(st.sampled_from(("overwrite", "insert", "remove", "repeat"))):
            case "overwrite":
                data[at : at + len(piece)] = piece
            case "insert":
                data[at:at] = piece
            case "remove":
                del data[at : at + length]
            case _:
                data[at:at] = data[at : at + length]
    return bytes(data)


ANY_BYTE = st.integers(0, 255)
PICKLE_BYTE = (
    st.sampled_from(b"().0K}]tRQbqhsuaeNlXcjJ\x80\x81\x85\x86\x87\x88\x89\x8a\x93\x94") | ANY_BYTE
)
JSON_BYTE = st.sampled_from(b'{}[]",:0123456789-eF \\u') | ANY_BYTE


def test_the_files_that_are_changed_are_accepted_unchanged() -> None:
    assert survives(forge.archive(PICKLE))
    assert survives(forge.valid_zip())
    assert survives(forge.valid_safetensors())


@fuzzed
@given(st.binary(max_size=600))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert not survives(data)


@fuzzed
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_magic_number_are_refused(data: bytes) -> None:
    for magic in (b"PK\x03\x04", b"\x80\x02", len(data).to_bytes(8, "little") + b"{"):
        assert not survives(magic + data)


@fuzzed
@given(changes(forge.archive(PICKLE), ANY_BYTE))
def test_any_change_to_a_zip_ends_in_a_result_or_a_refusal(data: bytes) -> None:
    survives(data)


@fuzzed
@given(changes(PICKLE, PICKLE_BYTE))
def test_any_change_to_a_pickle_ends_in_a_result_or_a_refusal(data: bytes) -> None:
    survives(forge.archive(data))


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@fuzzed
@given(st.lists(PICKLE_BYTE, max_size=60).map(bytes))
def test_any_program_in_place_of_a_pickle_is_refused(data: bytes) -> None:
    assert not survives(forge.archive(b"\x80\x02" + data + b"."))


@fuzzed
@given(changes(HEADER, JSON_BYTE))
def test_any_change_to_a_safetensors_header_ends_in_a_result_or_a_refusal(data: bytes) -> None:
    survives(forge.safetensors(data, forge.FLOATS_4))


@fuzzed
@given(
    st.lists(st.integers(0, 5), max_size=4),
    st.lists(st.integers(-1, 30), max_size=4),
    st.integers(-1, 30),
)
def test_a_tensor_is_accepted_only_within_its_storage_and_without_repetition(
    shape: list[int], strides: list[int], offset: int
) -> None:
    """Against the set of elements that the layout visits, counted one by one."""
    where = forge.storage(n=24)
    state = {"w": forge.tensor(where, offset=offset, shape=shape, strides=strides)}
    accepted = survives(forge.checkpoint(state, {"0": bytes(96)}))
    if len(shape) != len(strides) or offset < 0 or min(strides, default=0) < 0:
        assert not accepted
        return
    visited = [offset]
    for size, stride in zip(shape, strides, strict=True):
        visited = [start + i * stride for start in visited for i in range(size)]
    if accepted:
        assert len(set(visited)) == len(visited)
        assert all(element < 24 for element in visited)
    elif visited and max(visited) < 24 and offset <= 24:
        order = sorted(
            (stride, size) for size, stride in zip(shape, strides, strict=True) if size > 1
        )
        dense = all(
            later[0] > sum((size - 1) * stride for stride, size in order[:i])
            for i, later in enumerate(order)
        )
        assert not dense
