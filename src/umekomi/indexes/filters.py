"""Conditions on an index's payload: ``year > 2020 and lang in ("ja", "en")``, read as Python's grammar, never run as code."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from umekomi.errors import WrongUse

if TYPE_CHECKING:
    import pyarrow.compute as pc

_COMPARISONS = {ast.Eq: "__eq__", ast.NotEq: "__ne__", ast.Lt: "__lt__", ast.LtE: "__le__", ast.Gt: "__gt__", ast.GtE: "__ge__"}
_SAYS = "expected a condition such as  year > 2020 and lang in ('ja', 'en')"


def parse(condition: str, fields: Sequence[str]) -> pc.Expression:
    """The condition as an Arrow expression. Names are columns; a value is a number, a string, True, False or None;
    ``== != < <= > >= in not in is is not and or not`` and brackets.

    >>> str(parse("year > 2020 and not lang == 'ja'", ["year", "lang"]))
    '((year > 2020) and invert((lang == "ja")))'
    """
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        hint = " (equality is ==)" if "=" in condition and "==" not in condition else ""
        raise WrongUse(f"filter {condition!r}: {_SAYS}, found {getattr(error, 'msg', error)}{hint}") from None
    return _walk(tree.body, condition, fields)


def _walk(node: ast.expr, condition: str, fields: Sequence[str]) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [_walk(value, condition, fields) for value in node.values]
        out = parts[0]
        for part in parts[1:]:
            out = out & part if isinstance(node.op, ast.And) else out | part
        return out
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_walk(node.operand, condition, fields)
    if isinstance(node, ast.Compare):
        left, out = node.left, None
        for operator, right in zip(node.ops, node.comparators, strict=True):
            part = _compare(left, operator, right, condition, fields)
            out = part if out is None else out & part
            left = right
        return out
    if isinstance(node, ast.Name):
        return _field(node.id, fields)
    raise WrongUse(f"filter {condition!r}: {_SAYS}, found {ast.unparse(node)!r}")


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr, condition: str, fields: Sequence[str]) -> Any:
    if isinstance(operator, (ast.In, ast.NotIn)):
        values = _value(right, condition)
        if not isinstance(values, (tuple, list)):
            raise WrongUse(f"filter {condition!r}: expected a list of values behind in, found {ast.unparse(right)!r}")
        found = _side(left, condition, fields).isin(list(values))
        return ~found if isinstance(operator, ast.NotIn) else found
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if _value(right, condition) is not None:
            raise WrongUse(f"filter {condition!r}: expected None behind is, found {ast.unparse(right)!r}")
        found = _side(left, condition, fields).is_null()
        return ~found if isinstance(operator, ast.IsNot) else found
    return getattr(_side(left, condition, fields), _COMPARISONS[type(operator)])(_side(right, condition, fields))


def _side(node: ast.expr, condition: str, fields: Sequence[str]) -> Any:
    import pyarrow.compute as pc

    return _field(node.id, fields) if isinstance(node, ast.Name) else pc.scalar(_value(node, condition))


def _value(node: ast.expr, condition: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise WrongUse(f"filter {condition!r}: {_SAYS}, found {ast.unparse(node)!r}") from None


def _field(name: str, fields: Sequence[str]) -> Any:
    import pyarrow.compute as pc

    if name not in fields:
        raise WrongUse(f"filter: this index has no field {name!r}; there are: {', '.join(fields) or 'none'}")
    return pc.field(name)
