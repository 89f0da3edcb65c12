"""Fields of a patch: state of its own, in the kernel and in the objects of the model, as a new member of a struct is.

A patch declares them with their first values, by kind of object, and then reads and writes them like any other:

    fields = {"kernel": {"scanned": 0}, "page": {"PG_lazyfree": False}}

They are kept and brought back with the state and are part of its key. A base class's are inherited. This module may
use the standard library only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from keyword import iskeyword
from typing import Any, TypeAlias, TypeVar

#: The first values of fields, by kind of object and name.
Fields: TypeAlias = Mapping[str, Mapping[str, Any]]
NO_FIELDS: Fields = {kind: {} for kind in ("kernel", "page", "vma", "mm", "file", "task")}

C = TypeVar("C", bound=type)


class BadField(Exception):
    """A declaration of fields that cannot be used: one line that says what to do."""


class Field:
    """A field that a patch has given to a class of the model: only objects of its kernel have it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            return self
        try:
            return owner.own[self.name]
        except KeyError:
            raise AttributeError(f"this {cls.__name__}'s kernel declares no field {self.name}") from None

    def __set__(self, owner: Any, value: object) -> None:
        if self.name not in owner.own:
            raise AttributeError(f"this {type(owner).__name__}'s kernel declares no field {self.name}")
        owner.own[self.name] = value


#: The classes whose objects can have fields, beside the kernel's.
_OWNERS: dict[str, type] = {}


def has_fields(kind: str) -> Callable[[C], C]:
    """Let a patch declare fields of a class of the model."""

    def of(cls: C) -> C:
        _OWNERS[kind] = cls
        return cls

    return of


#: What kernels declare.
_DECLARED: dict[type, Fields] = {}


def declared(kernel: type) -> Fields:
    """The first values of the fields that a kernel and its bases declare. Raises BadField."""
    known = _DECLARED.get(kernel)
    if known is not None:
        return known
    found: dict[str, dict[str, Any]] = {kind: {} for kind in NO_FIELDS}
    for cls in reversed(kernel.__mro__):
        of_class = vars(cls).get("fields", {})
        if not isinstance(of_class, Mapping):
            raise BadField('fields is no dict: write `fields = {"page": {"PG_new": False}}`')
        for kind, values in of_class.items():
            if kind not in found:
                raise BadField(f"no object is called {kind!r}; fields can be those of {', '.join(found)}")
            if not isinstance(values, Mapping):
                raise BadField(f"the fields of {kind!r} are no dict of names and first values")
            for name, value in values.items():
                _check(name, value)
                _install(cls if kind == "kernel" else _OWNERS[kind], name)
            found[kind].update(values)
    _DECLARED[kernel] = found
    return found


def _check(name: object, value: object) -> None:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name.startswith("__"):
        raise BadField(f"{name!r} is no name for a field")
    for part in _parts(value):
        if part is not None and not isinstance(part, (bool, int, str, Enum, list, dict, tuple)):
            what = "its order is not the same in every run: take a list" if isinstance(part, (set, frozenset)) else ""
            raise BadField(
                f"the first value of {name} has a {type(part).__name__}: "
                f"{what or 'it may be a number, a flag, a string, None, or a list, tuple or dict of these'}"
            )


def _install(cls: type, name: str) -> None:
    there = inspect.getattr_static(cls, name, None)
    if there is None:
        setattr(cls, name, Field(name))
    elif not isinstance(there, Field):
        raise BadField(f"{cls.__name__} has a {name} already: give the field another name")


def _parts(value: object) -> Iterator[object]:
    """A value, and what is in it."""
    yield value
    inner: Iterable[object] = ()
    if isinstance(value, (list, tuple)):
        inner = value
    elif isinstance(value, dict):
        inner = (*value.keys(), *value.values())
    for part in inner:
        yield from _parts(part)


def first(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a new object."""
    return {name: _new(value) for name, value in values.items()} if values else {}


def _new(value: Any) -> Any:
    """A first value, of which no other object has a part that can change."""
    if isinstance(value, (list, tuple)):
        made = [_new(part) for part in value]
        return made if isinstance(value, list) else tuple(made)
    return {name: _new(part) for name, part in value.items()} if isinstance(value, dict) else value


#: A container in a field, and what it held.
Kept: TypeAlias = tuple[Any, dict[str, Any], list[tuple[Any, Any]]]


def keep(owner: Any) -> Kept:
    """Remember the fields of an object."""
    parts = [part for value in owner.own.values() for part in _parts(value) if isinstance(part, (list, dict))]
    return owner, owner.own.copy(), [(part, part.copy()) for part in parts]


def bring_back(kept: Kept) -> None:
    """Give an object the fields that it had; a loop in progress goes on in the same list."""
    owner, own, parts = kept
    owner.own = own.copy()
    for part, was in parts:
        if isinstance(part, list):
            part[:] = was
        elif list(part.items()) != list(was.items()):
            part.clear()
            part.update(was)
