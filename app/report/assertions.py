"""Assertions of a notebook that fail without a message, explained: the asserted source and the values in it.

Runs in the kernel. Evaluates names, attributes, constants and a few built-in functions of them once more, and nothing
that could do work or have an effect: no call of the notebook's own functions.
"""

import ast
import linecache
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

LONGEST_VALUE = 160  # characters of one value
PURE = {
    one.__name__: one for one in (len, set, list, tuple, sorted, sum, min, max, any, all, abs, round, str, int, float)
}
READABLE: tuple[type[ast.AST], ...] = (
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.Load,
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.Call,
)
READABLE += (ast.keyword, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.Slice)


def explain_assertion(trace: TracebackType | None) -> str:
    """`assert total == 4, where total = 3` for the assertion that raised `trace`; empty if its source is not found."""
    if trace is None:
        return ""
    while trace.tb_next:
        trace = trace.tb_next
    frame = trace.tb_frame
    statement = find_assertion("".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals)), trace.tb_lineno)
    if statement is None:
        return ""
    found = dict(values_in(statement.test, {**frame.f_globals, **frame.f_locals}))
    where = ", ".join(f"{source} = {value}" for source, value in found.items())
    return f"assert {ast.unparse(statement.test)}" + (f", where {where}" if where else "")


def find_assertion(source: str, line: int) -> ast.Assert | None:
    """The assertion that covers a line of `source`."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return None
    covering = [n for n in nodes if isinstance(n, ast.Assert) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    return covering[-1] if covering else None


def values_in(test: ast.expr, names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Source and value of the parts that a test compares, as far as they can be read without doing any work."""
    for part in compared_parts(test):
        if isinstance(part, ast.Constant):
            continue
        if all(isinstance(node, READABLE) for node in ast.walk(part)) and only_pure_calls(part, names):
            try:
                value = eval(compile(ast.Expression(part), "<assertion>", "eval"), {**names, **PURE})  # noqa: S307
            except Exception:  # noqa: S112  (the value is only an extra)
                continue
            yield ast.unparse(part), shorten_value(value)


def compared_parts(test: ast.expr) -> Iterator[ast.expr]:
    """The operands of comparisons in a test; the test itself if it compares nothing."""
    match test:
        case ast.Compare():
            yield from (test.left, *test.comparators)
        case ast.BoolOp():
            for part in test.values:
                yield from compared_parts(part)
        case ast.UnaryOp(op=ast.Not()):
            yield from compared_parts(test.operand)
        case _:
            yield test


def only_pure_calls(part: ast.expr, names: Mapping[str, Any]) -> bool:
    """Does `part` call nothing but built-in functions that the notebook has not replaced?"""
    calls = [node.func for node in ast.walk(part) if isinstance(node, ast.Call)]
    return all(isinstance(call, ast.Name) and call.id in PURE and call.id not in names for call in calls)


def shorten_value(value: Any) -> str:
    """The representation of a value on one line, cut to a length that a terminal can show."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."
