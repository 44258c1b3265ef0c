"""Reads a pickle without running it, and says which names it asks for and what it does with each of them.

torch's `weights_only` unpickler checks that every name is on an allow-list, but it lets the file call any class on that
list with arguments of its choice, and some constructors read files or download. So the opcodes are first followed on a
stack of labels: nothing is imported, nothing is called. Only the opcodes that torch's own unpickler knows are followed,
and what cannot be followed is refused.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field
from typing import IO, TypeAlias

_REBUILD_SUBCLASS = "torch._tensor._rebuild_from_type_v2"  # calls the function that it gets as its first argument
_PARTIAL = "functools.partial"


class UnreadablePickle(Exception):
    """The stream is damaged, or uses opcodes beyond those that torch.save writes."""


@dataclass(frozen=True)
class Name:
    """A global that the pickle asked for: "torch.nn.modules.conv.Conv2d"."""

    path: str


@dataclass(frozen=True)
class _Tuple:
    items: tuple[_Label, ...]


@dataclass(frozen=True)
class _Made:
    """Whatever a call of `by` gave."""

    by: str


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Data:
    """A number, a container, a tensor's storage."""


_Label: TypeAlias = "Name | _Tuple | _Made | _Text | _Data"
_DATA = _Data()


@dataclass
class PickleUse:
    """What one file does with the names that it asks for."""

    names: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)  # run while loading, with arguments from the file
    wrapped: set[str] = field(default_factory=set)  # put into functools.partial, so called when the model runs
    hidden: set[str] = field(default_factory=set)  # calls of something that is not a plain name
    sourced: set[str] = field(default_factory=set)  # classes stored with their source text, as torch did before 1.6


_IGNORED = frozenset({"PROTO", "STOP"})
_NUMBERS = ("NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1")
_PUSH_DATA = frozenset({"NONE", *_NUMBERS, "SHORT_BINSTRING", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"})
_DROP = {"APPEND": 1, "SETITEM": 2}  # how many items go into the container below them
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def audit(stream: IO[bytes], use: PickleUse) -> None:
    """Follows one pickle from the stream's position to its end, and adds what it finds to `use`.

    Raises:
        UnreadablePickle: the stream ends early, is no pickle, or uses an opcode that torch's safe unpickler lacks.
    """
    walker = _Walker(use)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            walker.step(opcode.name, argument)
    except (
        ValueError,
        IndexError,
        KeyError,
        UnicodeDecodeError,
    ) as error:  # pickletools' and our stack's own complaints
        raise UnreadablePickle(str(error) or type(error).__name__) from error


class _Walker:
    def __init__(self, use: PickleUse) -> None:
        self.use = use
        self.stack: list[_Label] = []
        self.outer: list[list[_Label]] = []  # stacks put aside by MARK
        self.memo: dict[int, _Label] = {}

    def step(self, opcode: str, argument: object) -> None:
        stack = self.stack
        if opcode in _PUSH_DATA:
            stack.append(_DATA)
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[_index(argument)])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[_index(argument)] = stack[-1]
        elif opcode == "MARK":
            self.outer.append(stack)
            self.stack = []
        elif opcode == "TUPLE":
            items = self._pop_mark()
            self.stack.append(_Tuple(tuple(items)))
        elif opcode in _TUPLES:
            self._fold(_TUPLES[opcode])
        elif opcode == "EMPTY_TUPLE":
            stack.append(_Tuple(()))
        elif opcode in _DROP:
            self._drop(_DROP[opcode])
        elif opcode in ("APPENDS", "SETITEMS"):
            self._pop_mark()
        elif opcode == "BINUNICODE":
            stack.append(_Text(str(argument)))
        elif opcode == "BINPERSID":
            self._persistent()
        elif opcode == "GLOBAL":
            self._name(str(argument))
        elif opcode in ("REDUCE", "NEWOBJ"):
            self._call(opcode)
        elif opcode == "BUILD":
            self._build()
        elif opcode not in _IGNORED:
            raise UnreadablePickle(f"the opcode {opcode}, which torch.save does not write by default")

    def _pop_mark(self) -> list[_Label]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _fold(self, n: int) -> None:
        if len(self.stack) < n:
            raise IndexError("a tuple needs more items than there are")
        self.stack[-n:] = [_Tuple(tuple(self.stack[-n:]))]

    def _drop(self, n: int) -> None:
        if len(self.stack) <= n:
            raise IndexError("nothing to put an item into")
        del self.stack[-n:]

    def _name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        # torch.save writes protocol 2, in which Python 3's modules bear their old names (__builtin__ for builtins).
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[(module, name)]
        elif module in IMPORT_MAPPING:
            module = IMPORT_MAPPING[module]
        path = f"{module}.{name}"
        self.use.names.add(path)
        self.stack.append(Name(path))

    def _persistent(self) -> None:
        """A reference to something outside the pickle: a tensor's storage, or a class with its source text."""
        reference = self.stack[-1]
        items = reference.items if isinstance(reference, _Tuple) else ()
        if items[:1] == (_Text("module"),) and len(items) > 1 and isinstance(items[1], Name):
            self.use.sourced.add(items[1].path)
            self.stack[-1] = items[1]
        else:
            self.stack[-1] = _DATA

    def _call(self, opcode: str) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, _Tuple):
            self.use.hidden.add(_describe(function))
            self.stack.append(_DATA)
            return
        if opcode == "REDUCE":  # NEWOBJ makes the object without running the constructor
            self.use.called.add(function.path)
            if function.path == _PARTIAL:
                self._wrap(arguments)
            elif function.path == _REBUILD_SUBCLASS:
                self._rebuild(arguments)
        self.stack.append(_Made(function.path))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Name):  # would change the class itself
            self.use.hidden.add(f"new attributes of {target.path}")
        elif isinstance(target, _Made) and target.by == _PARTIAL:
            self._wrap(state)

    def _wrap(self, arguments: _Label) -> None:
        first = arguments.items[0] if isinstance(arguments, _Tuple) and arguments.items else _DATA
        if isinstance(first, Name):
            self.use.wrapped.add(first.path)
        else:
            self.use.hidden.add(_describe(first))

    def _rebuild(self, arguments: _Tuple) -> None:
        """A tensor with attributes: its first two items are called by torch."""
        for item in arguments.items[:2]:
            if isinstance(item, Name):
                self.use.called.add(item.path)
            else:
                self.use.hidden.add(_describe(item))


def _index(argument: object) -> int:
    if not isinstance(argument, int):
        raise UnreadablePickle("a memo index that is not a number")
    return argument


def _describe(label: _Label) -> str:
    if isinstance(label, Name):
        return label.path
    return f"what {label.by} returned" if isinstance(label, _Made) else "a value that is not a name"
