"""Interpret a checkpoint's pickle as data: a stack machine that makes inert records.

Nothing is imported, looked up or called: a global is a pair of strings from `GLOBALS`, REDUCE
on it yields a record, and whatever torch's own state dicts do not need is refused. Opcodes are
split by the standard library's `pickletools.genops`, which executes nothing either.

Covered: code execution, budgets on bytes, instructions, nesting and tensors.
Not covered: whether a record's numbers make sense; `torch_zip` checks those that are used.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pool.airlock.known_globals import (
    GLOBALS,
    STORAGE_DTYPES,
    GlobalName,
    Maker,
    refusal_of_global,
)
from pool.airlock.limits import Limits
from pool.airlock.refusals import refused
from pool.airlock.tensors import Dtype

MAX_INT = 2**63


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """What a persistent id says: the entry `data/<key>` holds n_elements numbers."""

    key: str
    dtype: Dtype
    n_elements: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What a pickled tensor claims of itself; unchecked."""

    storage: StorageRecord
    offset: object
    shape: object
    strides: object
    is_lazy: bool


class _Ignored:
    """Anything a state dict's reader has no use for."""


IGNORED: Final = _Ignored()
Record = object
Mapping = dict[str, Record]


def read_pickle(data: bytes, limits: Limits) -> Record:
    """Return the pickled object as dicts, lists, tuples, strings, integers and records.

    Dict entries whose key is no string are dropped: no tensor's name is a number, and only
    strings hash in a way that the file's author cannot choose.

    Raises:
        Refused: `pickle-malformed`, `pickle-too-large`, `unknown-global`, or the code of the
            feature that the pickle needs (see `known_globals`).
    """
    if len(data) > limits.max_pickle_bytes:
        raise refused("pickle-too-large", what="bytes", limit=limits.max_pickle_bytes)
    machine = _Machine(data, limits)
    try:
        for count, (opcode, arg, position) in enumerate(pickletools.genops(data)):
            if count >= limits.max_pickle_ops:
                raise refused("pickle-too-large", what="instructions", limit=limits.max_pickle_ops)
            if opcode.name == "STOP":
                return machine.result(is_last=position == len(data) - 1)
            machine.step(opcode.name, arg)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        # ValueError is pickletools' for broken bytes; the others, a stack or memo that underflows.
        raise refused("pickle-malformed", detail=type(error).__name__) from error
    raise refused("pickle-malformed", detail="no STOP")


class _Machine:
    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self._limits = limits
        self._stack: list[Record] = []
        self._marked: list[list[Record]] = []  # the stacks below each open MARK
        self._memo: dict[Record, Record] = {}
        self._n_tensors = 0

    def result(self, *, is_last: bool) -> Record:
        if self._marked or len(self._stack) != 1 or not is_last:
            raise refused("pickle-malformed", detail="leftovers")
        return self._stack.pop()

    def step(self, name: str, arg: Record) -> None:
        if name in PUSHES_ARGUMENT:
            self._push_argument(arg)
        elif name in HANDLERS:
            HANDLERS[name](self, arg)
        else:
            raise refused("pickle-malformed", detail=f"instruction {name}")

    def _push_argument(self, arg: Record) -> None:
        if isinstance(arg, int) and not -MAX_INT <= arg < MAX_INT:
            raise refused("pickle-malformed", detail="huge integer")
        self._stack.append(arg if isinstance(arg, str | int) else IGNORED)

    def _mark(self, _: Record) -> None:
        if len(self._marked) >= self._limits.max_pickle_depth:
            raise refused("pickle-too-large", what="levels", limit=self._limits.max_pickle_depth)
        self._marked.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Record]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def _global(self, arg: Record) -> None:
        module, _, name = str(arg).partition(" ")
        self._push_global(GlobalName(module, name))

    def _stack_global(self, _: Record) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise refused("pickle-malformed", detail="STACK_GLOBAL")
        self._push_global(GlobalName(module, name))

    def _push_global(self, name: GlobalName) -> None:
        if name not in GLOBALS and name not in STORAGE_DTYPES:
            raise refusal_of_global(name, self._data)
        self._stack.append(name)

    def _persistent(self, _: Record) -> None:
        identity = self._stack.pop()
        match identity:
            case ("storage", GlobalName() as kind, str(key), str(location), int(n_elements)) if (
                kind in STORAGE_DTYPES and n_elements >= 0
            ):
                if location == "meta":
                    raise refused("meta-tensor")
                self._stack.append(StorageRecord(key, STORAGE_DTYPES[kind], n_elements))
            case _:
                raise refused("pickle-malformed", detail="persistent id")

    def _reduce(self, _: Record) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        maker = GLOBALS.get(function) if isinstance(function, GlobalName) else None
        if maker is None or not isinstance(arguments, tuple):
            raise refused("pickle-malformed", detail="REDUCE")
        self._stack.append(self._make(maker, arguments))

    def _make(self, maker: Maker, arguments: tuple[Record, ...]) -> Record:
        if maker is Maker.DICT and not arguments:  # its items follow by SETITEMS
            return {}
        if maker is Maker.TENSOR:
            return self._tensor(arguments)
        if maker is Maker.SAME:
            return arguments[0]
        if maker is Maker.IGNORED:
            return IGNORED
        raise refused("pickle-malformed", detail="REDUCE")

    def _tensor(self, arguments: tuple[Record, ...]) -> TensorRecord:
        self._n_tensors += 1
        if self._n_tensors > self._limits.max_pickle_tensors:
            raise refused("too-many-tensors", limit=self._limits.max_pickle_tensors)
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, StorageRecord):
            raise refused("pickle-malformed", detail="tensor without storage")
        # The seventh argument holds the conj and neg bits, which change what the bytes mean.
        is_lazy = len(arguments) > 6 and arguments[6] != {}
        return TensorRecord(storage, offset, shape, strides, is_lazy)

    def _build(self, _: Record) -> None:
        self._stack.pop()
        if not isinstance(self._stack[-1], dict | _Ignored | TensorRecord):
            raise refused("pickle-malformed", detail="BUILD")

    def _append(self, _: Record) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _extend_to_mark(self, _: Record) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Record]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif target is not IGNORED:
            raise refused("pickle-malformed", detail="APPEND")

    def _set_item(self, _: Record) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._put_items(self._stack[-1], [key, value])

    def _set_items(self, _: Record) -> None:
        items = self._pop_mark()
        self._put_items(self._stack[-1], items)

    def _put_items(self, target: Record, items: list[Record]) -> None:
        if not isinstance(target, dict) or len(items) % 2:
            raise refused("pickle-malformed", detail="SETITEM")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value

    def _put(self, arg: Record) -> None:
        self._memo[arg] = self._stack[-1]

    def _memoize(self, _: Record) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, arg: Record) -> None:
        self._stack.append(self._memo[arg])

    def _pack(self, size: int) -> None:
        if len(self._stack) < size:
            raise refused("pickle-malformed", detail="TUPLE")
        items = self._stack[len(self._stack) - size :]
        del self._stack[len(self._stack) - size :]
        self._stack.append(tuple(items))

    def _marked_tuple(self, _: Record) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _marked_set(self, _: Record) -> None:
        self._pop_mark()
        self._stack.append(IGNORED)

    def _pop(self, _: Record) -> None:
        self._stack.pop()

    def _discard_to_mark(self, _: Record) -> None:
        self._pop_mark()

    def _push_new(self, record: Record) -> None:
        self._stack.append(record)


def _nothing(_: _Machine, __: Record) -> None:
    """Accept the instruction without effect."""


# Protocol 2 and later only: the text instructions of protocols 0 and 1 are never torch's.
INTEGERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4"}
STRINGS = {"BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE"}
OTHERS = {"BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
PUSHES_ARGUMENT = INTEGERS | STRINGS | OTHERS
HANDLERS: dict[str, Callable[[_Machine, Record], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._discard_to_mark,
    "NONE": lambda machine, _: machine._push_new(None),
    "NEWTRUE": lambda machine, _: machine._push_new(True),
    "NEWFALSE": lambda machine, _: machine._push_new(False),
    "EMPTY_DICT": lambda machine, _: machine._push_new({}),
    "EMPTY_LIST": lambda machine, _: machine._push_new([]),
    "EMPTY_TUPLE": lambda machine, _: machine._push_new(()),
    "EMPTY_SET": lambda machine, _: machine._push_new(IGNORED),
    "TUPLE": _Machine._marked_tuple,
    "FROZENSET": _Machine._marked_set,
    "TUPLE1": lambda machine, _: machine._pack(1),
    "TUPLE2": lambda machine, _: machine._pack(2),
    "TUPLE3": lambda machine, _: machine._pack(3),
    "APPEND": _Machine._append,
    "APPENDS": _Machine._extend_to_mark,
    "ADDITEMS": _Machine._extend_to_mark,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "BINPERSID": _Machine._persistent,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "BUILD": _Machine._build,
}
