"""What a patch file must be, checked before it runs: what Python would let pass in silence, or report much later.

A generator that nobody runs, an attribute that nobody reads, a label that no search can stop at: with these a patch
does something else than it says. Each finding is one line with file, line and what to do. What is legal is not
refused: where the source does not tell, the check lets it pass. May import the rest of `mm_sim` except the series.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import dis
import inspect
import re
import sys
import typing
from collections.abc import Callable, Generator, Iterator
from functools import cache
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple, TypeAlias

from mm_sim import fields, system
from mm_sim.kernel import Kernel
from mm_sim.labels import LABEL

Function: TypeAlias = ast.FunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)

#: What a series can expect of the tool.
EXPECTATIONS = ("loses", "safe", "unknown")
_ATTRIBUTES = ("title", "posted", "applies_to")
#: Methods of containers that change them.
_MUTATORS = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft"}
    | {"remove", "reverse", "rotate", "setdefault", "sort", "update"}
)


class SeriesError(Exception):
    """A series that cannot be used: one line that names the file, the line and what to do."""


class Finding(Exception):
    """What is wrong at a line of a patch file."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def check(kernel: type[Kernel], module: ModuleType, tree: ast.Module) -> None:
    """Check the class of a patch and the file that defines it. Raises Finding."""
    cls = _class(kernel, tree)
    _check_class(kernel, cls)
    _check_fields(kernel, cls)
    check_module(kernel, module, tree)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for function in cls.body:
        if isinstance(function, ast.AsyncFunctionDef):
            raise Finding(function.lineno, f"{function.name}() is a coroutine: `def`, with `yield from` for a call")
        value = vars(kernel).get(function.name) if isinstance(function, ast.FunctionDef) else None
        if isinstance(value, FunctionType):
            assert isinstance(function, ast.FunctionDef)
            _check_method(kernel, function, inspect.unwrap(value), used)


def check_module(kernel: type[Kernel], module: ModuleType, tree: ast.Module) -> None:
    """Check the functions of a file, whether of a patch or of what it imports from beside it. Raises Finding."""
    known = _Names(kernel, module, tree)
    _check_names(module)
    for function in _functions(tree):
        _check_steps(known, function)
        _check_state(known, function)
        _check_attributes(known, function)


def _class(kernel: type[Kernel], tree: ast.Module) -> ast.ClassDef:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == kernel.__name__:
            return node
    raise Finding(1, f"write {kernel.__name__} as a class statement")


def _check_class(kernel: type[Kernel], cls: ast.ClassDef) -> None:
    for attribute in _ATTRIBUTES:
        if not isinstance(vars(kernel).get(attribute), str):
            raise Finding(cls.lineno, f"{kernel.__name__} does not say its {attribute!r}")
    if kernel.expected not in EXPECTATIONS:
        raise Finding(cls.lineno, f"expected is {kernel.expected!r}; it must be one of {', '.join(EXPECTATIONS)}")
    if "__slots__" not in vars(kernel):
        raise Finding(
            cls.lineno, f"{kernel.__name__} has no __slots__: write `__slots__ = ()`, and own state in `fields`"
        )
    if vars(kernel)["__slots__"]:
        raise Finding(cls.lineno, "own state is declared in `fields`, not in __slots__: write `__slots__ = ()`")
    if kernel.__dictoffset__:
        raise Finding(cls.lineno, f"a base class of {kernel.__name__} has no __slots__: write `__slots__ = ()` there")


def _check_fields(kernel: type[Kernel], cls: ast.ClassDef) -> None:
    line = next(
        (
            node.lineno
            for node in cls.body
            if (isinstance(node, ast.Assign) and any(_is_name(target, "fields") for target in node.targets))
            or (isinstance(node, ast.AnnAssign) and _is_name(node.target, "fields"))
        ),
        cls.lineno,
    )
    try:
        fields.declared(kernel)
    except fields.BadField as error:
        raise Finding(line, str(error)) from None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


# steps


def is_interruptible(function: object) -> bool:
    """Whether a call of the function gives steps to be run: it is a generator, or is annotated to return steps."""
    if isinstance(function, (staticmethod, classmethod)):
        function = function.__func__
    if not isinstance(function, FunctionType):
        return False
    return inspect.isgeneratorfunction(function) or _says_steps(function)


def _hint(function: FunctionType) -> object:
    """The return annotation, evaluated; as text where it names what is imported for type checkers only."""
    hint = function.__annotations__.get("return")
    if isinstance(hint, str):
        try:
            return eval(hint, function.__globals__)
        except Exception:
            return hint
    return hint


def _says_steps(function: FunctionType) -> bool:
    hint = _hint(function)
    if isinstance(hint, str):
        return re.search(r"\bSteps\b", hint) is not None
    return any(typing.get_origin(one) is Generator for one in (hint, *typing.get_args(hint)))


def _result(function: FunctionType) -> object:
    """What the function returns in the end, by its annotation; Any where it does not say."""
    if "return" not in function.__annotations__:
        return Any
    hint = _hint(function)
    if isinstance(hint, str):
        if (steps := re.fullmatch(r"Steps\[(.*)\]", hint)) is not None:
            hint = steps[1]
        return None if re.search(r"\b(None|Any|object|Optional|NoReturn|Never)\b", hint) else hint
    if typing.get_origin(hint) is Generator:
        return typing.get_args(hint)[2]
    return None if inspect.isgeneratorfunction(function) else hint


def _may_be_none(hint: object) -> bool:
    return hint in (None, type(None), Any, object, typing.NoReturn) or type(None) in typing.get_args(hint)


def _named(hint: object) -> str:
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", None) or str(hint)
    return re.sub(r"[\w.]+\.(\w+)", r"\1", text)


class _Names:
    """What the code of a patch file can refer to."""

    def __init__(self, kernel: type[Kernel], module: ModuleType, tree: ast.Module) -> None:
        self.kernel = kernel
        self.module = module
        self.classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        mine = {cls.name for cls in self.classes}
        self.globals = vars(module)
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        #: Names of functions whose result is run somewhere in the file.
        self.run = {
            _called(node.value) for node in ast.walk(tree) if isinstance(node, ast.YieldFrom) and _called(node.value)
        }
        self.run |= {rule.steps.__name__ for rule in kernel.rules if isinstance(rule.steps, FunctionType)}
        own = {
            node.attr if isinstance(node, ast.Attribute) else node.name
            for cls in self.classes
            for node in ast.walk(cls)
            if (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not _is_kernel(cls, module))
            or isinstance(node, ast.FunctionDef)
        }
        own |= {
            target.id
            for cls in self.classes
            for node in cls.body
            for target in _targets(node)
            if isinstance(target, ast.Name)
        }
        declared = {name for kind in fields.declared(kernel).values() for name in kind}
        self.stored = _slots() | own | declared
        self.known = _attributes() | own | declared | set(dir(kernel))
        for name, value in self.globals.items():
            if not name.startswith("__"):
                self.known |= set(dir(value))
                if isinstance(value, ModuleType):
                    self.known |= {a for v in vars(value).values() if isinstance(v, type) for a in dir(v)}
                elif type(value).__module__ not in ("builtins", self.module.__name__) or type(value).__name__ in mine:
                    self.stored |= set(dir(value))

    def method(self, name: str) -> object:
        """The function of a kernel."""
        return inspect.getattr_static(self.kernel, name, None)

    def gives_steps(self, call: ast.expr) -> bool:
        """Whether a call is one of an interruptible function of the kernel or of the file."""
        if not isinstance(call, ast.Call):
            return False
        if isinstance(call.func, ast.Name):
            value = self.globals.get(call.func.id)
            return isinstance(value, FunctionType) and _says_steps(value)
        if not isinstance(call.func, ast.Attribute):
            return False
        receiver = call.func.value
        name = call.func.attr
        if isinstance(receiver, ast.Name) and isinstance(module := self.globals.get(receiver.id), ModuleType):
            value = vars(module).get(name)
            return isinstance(value, FunctionType) and _says_steps(value)
        of_kernel = (
            (isinstance(receiver, ast.Name) and (receiver.id in ("self", "kernel") or self.is_kernel(receiver.id)))
            or (isinstance(receiver, ast.Attribute) and receiver.attr == "kernel")
            or _called(receiver) == "super"
        )
        method = self.method(name)
        if not of_kernel or not isinstance(method, FunctionType):
            return False
        every = (vars(cls).get(name) for cls in self.kernel.__mro__)  # an override may say nothing of what it returns
        # a generator of something else, say of vmas, is no step
        return name in self.run or any(isinstance(one, FunctionType) and _says_steps(one) for one in every)

    def is_foreign(self, function: ast.expr) -> bool:
        """Whether a function or class that is called is a library's, so that nothing is known of what it gives."""
        while isinstance(function, ast.Attribute):
            function = function.value
        value = self.globals.get(function.id) if isinstance(function, ast.Name) else None
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "mm_sim")
        return isinstance(module, str) and module.partition(".")[0] not in ("mm_sim", self.module.__name__)

    def is_kernel(self, name: str) -> bool:
        value = self.globals.get(name)
        return isinstance(value, type) and issubclass(value, Kernel)


def _is_kernel(cls: ast.ClassDef, module: ModuleType) -> bool:
    value = vars(module).get(cls.name)
    return isinstance(value, type) and issubclass(value, Kernel)


def _called(node: ast.AST) -> str:
    """The last part of the name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def _own(nodes: list[ast.stmt] | list[ast.expr]) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes within."""
    todo: list[ast.AST] = list(reversed(nodes))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += reversed(list(ast.iter_child_nodes(node)))


def _check_steps(known: _Names, function: ast.FunctionDef) -> None:
    body = list(_own(function.body))
    yields = [node for node in body if isinstance(node, (ast.Yield, ast.YieldFrom))]
    for call in body:
        if isinstance(call, ast.Call) and known.gives_steps(call):
            how = use_of_steps(known.parents, call, function.body, bool(yields))
            name = ast.unparse(call.func)
            if how is None:
                continue
            if name.endswith("set_page_dirty"):
                if how == "dropped" and not inspect.isgeneratorfunction(known.method("set_page_dirty")):
                    continue  # the flag is set at the call
                how += ": call SetPageDirty() for the flag alone, or"
            else:
                how += ":"
            raise Finding(call.lineno, f"the steps of {name}() are {how} write `yield from {name}(...)`")
    if not _is_of_steps(known, function):
        return
    for statement in _reachable(function.body):
        for node in _own_expressions(statement):
            if isinstance(node, ast.Yield):
                _check_label(known, function, node, node.value)


def _is_of_steps(known: _Names, function: ast.FunctionDef) -> bool:
    """Whether what the function yields is for the scheduler."""
    if function.name in known.run:
        return True
    if function.returns is not None and "Steps" in ast.unparse(function.returns):
        return True
    parent = known.parents.get(function)
    if isinstance(parent, ast.ClassDef) and _is_kernel(parent, known.module):
        return any(is_interruptible(vars(base).get(function.name)) for base in known.kernel.__mro__[1:])
    return False


def use_of_steps(
    parents: dict[ast.AST, ast.AST], call: ast.expr, body: list[ast.stmt], in_generator: bool
) -> str | None:
    """What is wrong with the use of steps that a call returns: they are dropped, or taken for an answer."""
    node: ast.AST = call
    parent = parents[node]
    while (isinstance(parent, ast.IfExp) and node is not parent.test) or (
        isinstance(parent, ast.BoolOp) and node is parent.values[-1]
    ):
        node, parent = parent, parents[parent]
    if isinstance(parent, ast.Expr):
        return "dropped"
    if isinstance(parent, ast.Return):
        return "returned, not run" if in_generator else None
    if isinstance(parent, ast.Yield):
        return "yielded, not run"
    if isinstance(parent, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(parent, ast.NamedExpr) and not isinstance(parents[parent], ast.Expr):
            again = use_of_steps(parents, parent, body, in_generator)
            if again is None:
                return None
        if names and not any(
            isinstance(one, ast.Name)
            and one.id in names
            and isinstance(one.ctx, ast.Load)
            and not _is_answer(parents, one)
            for statement in body
            for one in ast.walk(statement)
        ):
            return "never run"
        return None
    return "taken for an answer" if _is_answer(parents, node) else None


def _is_answer(parents: dict[ast.AST, ast.AST], node: ast.AST) -> bool:
    """Whether an expression is tested, compared or computed with."""
    parent = parents[node]
    if isinstance(parent, (ast.If, ast.While, ast.IfExp, ast.Assert)):
        return node is parent.test
    if isinstance(parent, ast.comprehension):
        return node in parent.ifs
    if isinstance(parent, ast.BoolOp):
        return True
    if isinstance(parent, ast.Attribute):
        return parent.attr not in ("send", "close", "throw", "__next__")
    if isinstance(parent, (ast.Subscript, ast.match_case, ast.Match)):
        return True
    return isinstance(parent, (ast.Compare, ast.UnaryOp, ast.BinOp, ast.FormattedValue, ast.AugAssign))


def _check_label(known: _Names, function: ast.FunctionDef, at: ast.Yield, value: ast.expr | None) -> None:
    form = (
        f'write `yield "{function.name}: where"`, a preemption point, or yield what is waited for, such as page.lock'
    )
    if isinstance(value, ast.IfExp):
        _check_label(known, function, at, value.body)
        _check_label(known, function, at, value.orelse)
        return
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        raise Finding(at.lineno, f"{function.name}() yields nothing: {form}")
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        if LABEL.fullmatch(value.value) is None:
            raise Finding(
                at.lineno,
                f"{value.value!r} is no label of a preemption point (letters, digits, `_`, `'`, spaces): {form}",
            )
        return
    is_text = isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Name) and isinstance(known.globals.get(value.id), str)
    )
    if is_text:
        raise Finding(at.lineno, f"no search can stop at a label that is not written out: {form}")
    if not isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.NamedExpr, ast.BoolOp)):
        raise Finding(at.lineno, f"{ast.unparse(value)} is neither a label nor what can be waited for: {form}")


# the flow of control


def _exits(body: list[ast.stmt]) -> frozenset[str]:
    """How control leaves a block, beside return and raise: at its "end", by "break" or by "continue"."""
    found: frozenset[str] = frozenset()
    for statement in body:
        ways = _exits_of(statement)
        found |= ways - {"end"}
        if "end" not in ways:
            return found
    return found | {"end"}


def _exits_of(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, (ast.Return, ast.Raise)):
        return frozenset()
    if isinstance(node, (ast.Break, ast.Continue)):
        return frozenset(("break" if isinstance(node, ast.Break) else "continue",))
    if isinstance(node, ast.Assert):
        return frozenset() if _truth(node.test) is False else frozenset(("end",))
    if isinstance(node, ast.If):
        taken = [] if _truth(node.test) is False else [_exits(node.body)]
        taken += [] if _truth(node.test) is True else [_exits(node.orelse)]
        return frozenset().union(*taken)
    if isinstance(node, (ast.While, ast.For)):
        endless = isinstance(node, ast.While) and _truth(node.test) is True
        broken = frozenset(("end",)) if "break" in _exits(node.body) else frozenset()
        return broken if endless else broken | _exits(node.orelse)
    if isinstance(node, (ast.Try, ast.TryStar)):
        ways = _exits(node.body)
        if "end" in ways:
            ways = (ways - {"end"}) | _exits(node.orelse)
        ways = ways.union(*(_exits(handler.body) for handler in node.handlers))
        last = _exits(node.finalbody)
        return ways | (last - {"end"}) if "end" in last else last
    if isinstance(node, ast.With):
        suppresses = any(_called(item.context_expr) == "suppress" for item in node.items)
        return _exits(node.body) | ({"end"} if suppresses else frozenset())
    if isinstance(node, ast.Match):  # all cases there are, as a type checker would see to it
        return frozenset().union(*(_exits(case.body) for case in node.cases))
    return frozenset(("end",))


def _truth(test: ast.expr) -> bool | None:
    return bool(test.value) if isinstance(test, ast.Constant) else None


def _reachable(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a function that control can come to, each before those within it."""
    for node in body:
        yield node
        if not isinstance(node, _SCOPES):
            for name, value in ast.iter_fields(node):
                blocks = [value] if name in ("body", "orelse", "finalbody") else []
                if name in ("handlers", "cases"):
                    blocks = [one.body for one in value]
                never = isinstance(node, (ast.If, ast.While)) and _truth(node.test) is (name == "orelse")
                for block in blocks if not never else ():
                    yield from _reachable(block)
        if "end" not in _exits_of(node):
            return


def _own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement, without the statements within it."""
    if isinstance(statement, _SCOPES):
        return
    todo = [child for child in ast.iter_child_nodes(statement) if isinstance(child, (ast.expr, ast.withitem))]
    yield from _own(todo)  # type: ignore[arg-type]


# methods


def _check_method(kernel: type[Kernel], node: ast.FunctionDef, function: FunctionType, used: set[str]) -> None:
    name, line = node.name, node.lineno
    if name.startswith("__"):
        return
    base = next((vars(cls)[name] for cls in kernel.__mro__[1:] if name in vars(cls)), None)
    if base is None:
        if name not in used:
            near = _near(name, [n for cls in Kernel.__mro__ for n in vars(cls)])
            raise Finding(line, f"the kernel has no {name}() to override{near}")
    elif isinstance(base, FunctionType):
        _check_kind(node, function, base)
        _check_signature(node, function, base)
    elif not isinstance(base, (staticmethod, classmethod)):
        raise Finding(line, f"{name} is no function of the kernel: it cannot be overridden by one")
    _check_returns(node, function, base if isinstance(base, FunctionType) else None)


def _check_kind(node: ast.FunctionDef, function: FunctionType, base: FunctionType) -> None:
    """An override is as interruptible as what it overrides."""
    yields = inspect.isgeneratorfunction(function)
    if not is_interruptible(base):
        if yields or _says_steps(function):
            raise Finding(node.lineno, f"{node.name}() cannot be interrupted: it must not yield")
        return
    if not yields:
        returns = [one for one in _own(node.body) if isinstance(one, ast.Return)]
        if not any(one.value is not None for one in returns) and "end" in _exits(node.body):
            raise Finding(node.lineno, f"{node.name}() can be interrupted: it must yield, or return steps")
        for one in returns:
            if one.value is None or isinstance(one.value, ast.Constant):
                raise Finding(one.lineno, f"{node.name}() can be interrupted: return steps here, or yield")
        if "end" in _exits(node.body):
            raise Finding(node.lineno, f"{node.name}() does not return steps on every path: it can be interrupted")


def _check_signature(node: ast.FunctionDef, function: FunctionType, base: FunctionType) -> None:
    mine = list(inspect.signature(function).parameters.values())[1:]
    theirs = list(inspect.signature(base).parameters.values())[1:]
    kinds = {parameter.kind for parameter in mine}
    if {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds:
        return
    want = ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in theirs)
    says = f"{node.name}() is called with ({want})"
    for one, other in zip(mine, theirs, strict=False):
        if one.name != other.name or one.kind != other.kind:
            raise Finding(node.lineno, f"{says}: write {other.name} in place of {one.name}")
        if one.default is inspect.Parameter.empty is not other.default:
            raise Finding(node.lineno, f"{says}: {one.name} needs a default")
    if len(mine) < len(theirs):
        raise Finding(node.lineno, f"{says}: {', '.join(one.name for one in theirs[len(mine) :])} missing")
    for one in mine[len(theirs) :]:
        variadic = one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if one.default is inspect.Parameter.empty and not variadic:
            raise Finding(node.lineno, f"{says}: {one.name} needs a default")


def _check_returns(node: ast.FunctionDef, function: FunctionType, base: FunctionType | None) -> None:
    """Every path returns a value if one is waited for."""
    if not inspect.isgeneratorfunction(function) and (_says_steps(function) or (base and is_interruptible(base))):
        if base is None and "end" in _exits(node.body):
            raise Finding(node.lineno, f"{node.name}() does not return steps on every path")
        return
    result = _result(function) if base is None or "return" in function.__annotations__ else _result(base)
    if _may_be_none(result):
        result = Any if base is None else _result(base)
    if _may_be_none(result) or any(typing.get_origin(one) is Generator for one in typing.get_args(result)):
        return
    what = _named(result)
    for statement in _reachable(node.body):
        if isinstance(statement, ast.Return) and (
            statement.value is None or (isinstance(statement.value, ast.Constant) and statement.value.value is None)
        ):
            raise Finding(statement.lineno, f"{node.name}() returns nothing here: return {what}")
    if "end" in _exits(node.body):
        raise Finding(node.lineno, f"{node.name}() does not return a value on every path: return {what}")


# names and state


def _check_names(module: ModuleType) -> None:
    """Every global name that a function uses is there."""
    for code in _codes(vars(module).values(), module):
        line = code.co_firstlineno
        for instruction in dis.get_instructions(code):
            if instruction.positions is not None and instruction.positions.lineno is not None:
                line = instruction.positions.lineno
            if instruction.opname == "LOAD_GLOBAL":
                name = instruction.argval
                if name not in vars(module) and not hasattr(builtins, name):
                    raise Finding(line, f"{code.co_name}() uses {name}, which is not defined{_found_in(name)}")


def _codes(values: Any, module: ModuleType) -> Iterator[CodeType]:
    """The code of the functions of a file, and of what is nested in them, but for annotations."""
    todo: list[CodeType] = []
    for value in values:
        if isinstance(value, FunctionType) and value.__globals__ is vars(module):
            todo.append(value.__code__)
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from _codes(
                [
                    part
                    for one in vars(value).values()
                    for part in (one, getattr(one, "__func__", None), getattr(one, "fget", None))
                ],
                module,
            )
    while todo:
        code = todo.pop()
        if code.co_name != "__annotate__":
            yield code
            todo += [const for const in code.co_consts if isinstance(const, CodeType)]


def _found_in(name: str) -> str:
    for module in sorted(sys.modules):
        value = vars(sys.modules[module]).get(name) if module.startswith("mm_sim.") else None
        if value is not None and getattr(value, "__module__", module) == module:
            return f": `from {module} import {name}`"
    return ""


def _near(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, [str(one) for one in names], n=1)
    return f", did you mean {near[0]}?" if near else ""


@cache
def _model_classes() -> tuple[type, ...]:
    assert system.__name__ in sys.modules  # with all that it imports
    return tuple(
        dict.fromkeys(
            value
            for name, module in sorted(sys.modules.items())
            if name.startswith("mm_sim.") and not name.startswith("mm_sim.series.")
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__.startswith("mm_sim.")
        )
    )


@cache
def _slots() -> frozenset[str]:
    """Every attribute that an object of the model has."""
    return frozenset(
        name
        for cls in _model_classes()
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, MemberDescriptorType)
    )


@cache
def _attributes() -> frozenset[str]:
    """Every attribute of a class of the model, or of a builtin."""
    named = {name for cls in _model_classes() for name in (*dir(cls), *getattr(cls, "__annotations__", ()))}
    named |= {name for value in vars(builtins).values() if isinstance(value, type) for name in dir(value)}
    return frozenset(named | set(dir(FunctionType)) | set(dir(Generator)))


def _targets(node: ast.AST) -> list[ast.expr]:
    """What a statement assigns to, or deletes."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
        targets = [node.target]
    elif isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
    else:
        return []
    flat: list[ast.expr] = []
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets += target.elts
        else:
            flat.append(target.value if isinstance(target, ast.Starred) else target)
    return flat


def _check_state(known: _Names, function: ast.FunctionDef) -> None:
    """What outlives a call is declared: no search goes back to a state that it does not know."""
    declare = "a search does not see it: declare it in `fields`"
    for default in (*function.args.defaults, *function.args.kw_defaults):
        if isinstance(default, (ast.List, ast.Dict, ast.Set)) or _called(default or function) in (
            "dict",
            "list",
            "set",
        ):
            assert default is not None
            raise Finding(default.lineno, f"the default of {function.name}() can change from call to call; {declare}")
    local = _locals(known, function)
    for node in _own(function.body):
        if isinstance(node, ast.Global):
            stored = {
                one.id
                for one in ast.walk(function)
                if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)
            }
            for name in node.names:
                if name in stored:
                    raise Finding(node.lineno, f"{name} is state of the module; {declare}")
        changed: list[ast.expr] = []
        for target in _targets(node):
            if isinstance(target, (ast.Attribute, ast.Subscript)):
                changed.append(target.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
            changed.append(node.func.value)
        if _called(node) == "next" and isinstance(node, ast.Call) and node.args:
            changed.append(node.args[0])
        for one in changed:
            while isinstance(one, ast.Subscript):
                one = one.value
            root = one
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            shared = isinstance(root, ast.Name) and root.id in known.globals and root.id not in local
            of_class = (
                isinstance(one, ast.Attribute)
                and isinstance(one.value, ast.Name)
                and one.value.id in ("self", "cls", "kernel")
                and not hasattr(inspect.getattr_static(known.kernel, one.attr, None), "__set__")
                and inspect.getattr_static(known.kernel, one.attr, None) is not None
            )
            if (
                shared
                or of_class
                or _called(root) == "type"
                or (isinstance(one, ast.Attribute) and one.attr == "__class__")
            ):
                raise Finding(
                    one.lineno, f"{ast.unparse(one)} is state of the {'module' if shared else 'class'}; {declare}"
                )


def _locals(known: _Names, function: ast.FunctionDef) -> set[str]:
    """The names that are local to a function or to one around it."""
    found: set[str] = set()
    around: ast.AST | None = function
    while around is not None:
        if isinstance(around, (ast.FunctionDef, ast.Lambda)):
            arguments = around.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            found |= {one.arg for one in (*every, arguments.vararg, arguments.kwarg) if one is not None}
            body = around.body if isinstance(around.body, list) else [around.body]
            unbound = {name for node in _own(body) if isinstance(node, ast.Global) for name in node.names}
            for node in _own(body):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
                elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.MatchAs, ast.MatchStar)) and node.name:
                    found.add(node.name)
                elif isinstance(node, (ast.Import, ast.ImportFrom)):
                    found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            found -= unbound
        around = known.parents.get(around)
    return found


def _check_attributes(known: _Names, function: ast.FunctionDef) -> None:
    parent = known.parents.get(function)
    of_kernel = isinstance(parent, ast.ClassDef) and _is_kernel(parent, known.module)
    mine = set(dir(known.kernel)) if of_kernel else known.known
    foreign = {
        target.id
        for node in _own(function.body)
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, ast.Call)
        and known.is_foreign(node.value.func)
        for target in _targets(node)
        if isinstance(target, ast.Name)
    }
    for node in _own(function.body):
        if not isinstance(node, ast.Attribute) or (node.attr.startswith("__") and node.attr.endswith("__")):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in foreign:
            continue
        on_self = of_kernel and _is_name(node.value, "self")
        if isinstance(node.ctx, ast.Load):
            if node.attr not in (mine if on_self else known.known):
                raise Finding(
                    node.lineno, f"{_there_is_no(node)}{_near(node.attr, mine if on_self else known.known)}"
                )
            continue
        slot = inspect.getattr_static(known.kernel, node.attr, None)
        if on_self and not hasattr(slot, "__set__"):
            raise Finding(node.lineno, f"{_there_is_no(node)}: declare it in `fields`, for the search to know it")
        if node.attr not in known.stored:
            near = _near(node.attr, known.stored)
            raise Finding(node.lineno, f"{_there_is_no(node)}{near or ': declare it in `fields`'}")


def _there_is_no(node: ast.Attribute) -> str:
    return f"{ast.unparse(node)}: nothing in the model has an attribute {node.attr}"


class Dropped(NamedTuple):
    """A call whose steps are not run."""

    line: int
    name: str


def dropped_steps(tree: ast.Module, interruptible: Callable[[str], bool]) -> Iterator[Dropped]:
    """The calls of methods in a source file whose steps are dropped, or taken for an answer."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for function in _functions(tree):
        body = list(_own(function.body))
        yields = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in body)
        for node in body:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and interruptible(node.func.attr):
                if use_of_steps(parents, node, function.body, yields) is not None:
                    yield Dropped(node.lineno, node.func.attr)
