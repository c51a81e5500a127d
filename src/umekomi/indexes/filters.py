"""Conditions on an index's payload: ``year > 2020 and lang in ("ja", "en")``, read as Python's grammar, never run as
code.

:func:`tree` reads one into nested tuples; :func:`arrow`, :func:`sql` and :func:`qdrant` say it to those who answer
it.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from umekomi.errors import WrongUse

OPERATORS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SAYS = "expected a condition such as  year > 2020 and lang in ('ja', 'en')"


def tree(condition: str, fields: Sequence[str] | None) -> tuple[Any, ...]:
    """``("and" | "or", part, ...)``, ``("not", part)``, ``("is", field)`` (no value), ``("in", field, values)``,
    ``(operator, field, value)``, ``("field", name)`` (a truth value). Names must be among ``fields``, where they are
    known.

    >>> tree("year > 2020 and not lang == 'ja'", ["year", "lang"])
    ('and', ('>', 'year', 2020), ('not', ('==', 'lang', 'ja')))
    """
    try:
        found = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        hint = " (equality is ==)" if "=" in condition and "==" not in condition else ""
        raise WrongUse(f"filter {condition!r}: {_SAYS}, found {getattr(error, 'msg', error)}{hint}") from None
    return _walk(found.body, condition, fields)


def _walk(node: ast.expr, condition: str, fields: Sequence[str] | None) -> tuple[Any, ...]:
    if isinstance(node, ast.BoolOp):
        return (
            "and" if isinstance(node.op, ast.And) else "or",
            *(_walk(value, condition, fields) for value in node.values),
        )
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ("not", _walk(node.operand, condition, fields))
    if isinstance(node, ast.Name):
        return ("field", _field(node, condition, fields))
    if isinstance(node, ast.Compare):
        parts, left = [], node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            parts.append(_compare(left, operator, right, condition, fields))
            left = right
        return parts[0] if len(parts) == 1 else ("and", *parts)
    raise WrongUse(f"filter {condition!r}: {_SAYS}, found {ast.unparse(node)!r}")


def _compare(
    left: ast.expr, operator: ast.cmpop, right: ast.expr, condition: str, fields: Sequence[str] | None
) -> tuple[Any, ...]:
    if isinstance(operator, (ast.In, ast.NotIn)):
        values = _value(right, condition)
        if not isinstance(values, (tuple, list)):
            raise WrongUse(f"filter {condition!r}: expected a list of values behind in, found {ast.unparse(right)!r}")
        found: tuple[Any, ...] = ("in", _field(left, condition, fields), tuple(values))
        return ("not", found) if isinstance(operator, ast.NotIn) else found
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if _value(right, condition) is not None:
            raise WrongUse(f"filter {condition!r}: expected None behind is, found {ast.unparse(right)!r}")
        found = ("is", _field(left, condition, fields))
        return ("not", found) if isinstance(operator, ast.IsNot) else found
    sign = OPERATORS[type(operator)]
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
        return (TURNED[sign], _field(right, condition, fields), _value(left, condition))
    return (sign, _field(left, condition, fields), _value(right, condition))


def _value(node: ast.expr, condition: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise WrongUse(f"filter {condition!r}: {_SAYS}, found {ast.unparse(node)!r}") from None


def _field(node: ast.expr, condition: str, fields: Sequence[str] | None) -> str:
    if not isinstance(node, ast.Name):
        raise WrongUse(f"filter {condition!r}: expected a field's name, found {ast.unparse(node)!r}")
    if fields is not None and node.id not in fields:
        raise WrongUse(f"filter: this index has no field {node.id!r}; there are: {', '.join(fields) or 'none'}")
    return node.id


def arrow(part: tuple[Any, ...]) -> Any:
    """As an Arrow expression."""
    import pyarrow.compute as pc

    kind, *rest = part
    if kind in ("and", "or"):
        out = arrow(rest[0])
        for each in rest[1:]:
            out = out & arrow(each) if kind == "and" else out | arrow(each)
        return out
    if kind == "not":
        return ~arrow(rest[0])
    field = pc.field(rest[0])
    if kind == "field":
        return field
    if kind == "is":
        return field.is_null()
    if kind == "in":
        return field.isin(list(rest[1]))
    names = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}
    return getattr(field, names[kind])(pc.scalar(rest[1]))


def sql(part: tuple[Any, ...]) -> str:
    """As a SQL condition (DataFusion's, for LanceDB).

    >>> sql(tree("year > 2020 and name != \\"it's\\"", None))
    "(`year` > 2020 AND `name` <> 'it''s')"
    """
    kind, *rest = part
    if kind in ("and", "or"):
        return "(" + f" {kind.upper()} ".join(sql(each) for each in rest) + ")"
    if kind == "not":
        return f"(NOT {sql(rest[0])})"
    name = f"`{rest[0]}`"
    if kind == "field":
        return name
    if kind == "is":
        return f"({name} IS NULL)"
    if kind == "in":
        return f"({name} IN ({', '.join(quoted(value) for value in rest[1])}))" if rest[1] else "(1 = 0)"
    return f"{name} { {'==': '=', '!=': '<>'}.get(kind, kind) } {quoted(rest[1])}"


def quoted(value: Any) -> str:
    """A value as SQL writes it."""
    if isinstance(value, bool):
        return str(value).upper()
    return (
        repr(value)
        if isinstance(value, (int, float))
        else "NULL"
        if value is None
        else "'" + str(value).replace("'", "''") + "'"
    )


def qdrant(part: tuple[Any, ...]) -> Any:
    """As a Qdrant filter."""
    from qdrant_client import models

    kind, *rest = part
    if kind == "and":
        return models.Filter(must=[qdrant(each) for each in rest])
    if kind == "or":
        return models.Filter(should=[qdrant(each) for each in rest])
    if kind == "not":
        return models.Filter(must_not=[qdrant(rest[0])])
    if kind == "is":
        return models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=rest[0]))])
    if kind == "field":
        kind, rest = "==", [rest[0], True]
    if kind == "in":
        return models.Filter(
            should=[qdrant(("==", rest[0], value)) for value in rest[1]] or [models.HasIdCondition(has_id=[])]
        )
    if kind == "!=":
        return models.Filter(must_not=[qdrant(("==", *rest))])
    value = rest[1]
    if kind == "==" and not isinstance(value, float):
        return models.Filter(must=[models.FieldCondition(key=rest[0], match=models.MatchValue(value=value))])
    if not isinstance(value, (int, float)):
        raise WrongUse(f"filter: Qdrant compares numbers by {kind}, found {value!r}")
    bounds = {
        "==": {"gte": value, "lte": value},
        "<": {"lt": value},
        "<=": {"lte": value},
        ">": {"gt": value},
        ">=": {"gte": value},
    }[kind]
    return models.Filter(must=[models.FieldCondition(key=rest[0], range=models.Range(**bounds))])
