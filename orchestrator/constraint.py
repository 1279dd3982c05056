"""What a point must keep: `model.dim % model.n_heads == 0`, read by our own small grammar."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import Problem, UsageError

Lookup = Callable[[str], Any]
Evaluate = Callable[[Lookup], Any]

LONGEST = 500
"""Characters; enough for any rule, too few for the parser's stack."""

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
GRAMMAR = "settings, numbers, texts, + - * / // %, == != < <= > >=, and, or, not"


@dataclass(frozen=True)
class Constraint:
    """A rule over the settings of a run.

    Args:
        text: As it was written.
        source: Where it was given.
    """

    text: str
    source: str
    _evaluate: Evaluate = field(repr=False, compare=False)

    def holds(self, lookup: Lookup) -> bool:
        """Return whether settings keep the rule.

        Args:
            lookup: The value of a dotted key.

        Raises:
            UsageError: The rule has no answer: a text is added, a zero divides, a setting has no
                value.
        """
        try:
            return bool(self._evaluate(lookup))
        except (TypeError, ArithmeticError, KeyError, RecursionError) as error:
            reason = f"{error.args[0]} has no value" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                Problem(
                    f"require {self.text!r}: cannot be answered: {reason}",
                    self.source,
                    'say where it applies: model.kind != "decoder" or …',
                )
            ) from error


def parse_constraint(text: Any, source: str, resolve: Callable[[str], str]) -> Constraint:
    """Read a rule. Nothing of it is ever executed: its syntax tree is walked.

    Args:
        text: The rule.
        source: Where it was given.
        resolve: The dotted key of a name; raises where there is none.

    Raises:
        UsageError: It is no rule, or names an unknown setting.
    """

    def refuse(message: str) -> UsageError:
        return UsageError(Problem(f"require {text!r}: {message}", source, f"a rule has {GRAMMAR}"))

    if not isinstance(text, str) or not text.strip():
        raise UsageError(Problem(f"require: got {text!r}, expected a rule as text", source))
    if len(text) > LONGEST:
        message = f"require: got {len(text):,} characters, expected at most {LONGEST}"
        raise UsageError(Problem(message, source))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(f"cannot be read: {getattr(error, 'msg', error)}") from error

    def truth(node: ast.expr) -> Evaluate:
        if isinstance(node, ast.BoolOp):
            parts = [truth(part) for part in node.values]
            if isinstance(node.op, ast.And):
                return lambda lookup: all(part(lookup) for part in parts)
            return lambda lookup: any(part(lookup) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = truth(node.operand)
            return lambda lookup: not inner(lookup)
        if isinstance(node, ast.Compare):
            return comparison(node)
        if isinstance(node, ast.Name | ast.Attribute):
            return _switch(term(node))
        raise refuse(f"got {ast.unparse(node)!r}, expected a comparison")

    def comparison(node: ast.Compare) -> Evaluate:
        for op in node.ops:
            if type(op) not in COMPARISONS:
                raise refuse(f"a {type(op).__name__} comparison is not understood")
        terms = [term(part) for part in (node.left, *node.comparators)]
        tests = [COMPARISONS[type(op)] for op in node.ops]

        def compare(lookup: Lookup) -> bool:
            values = [part(lookup) for part in terms]
            return all(
                test(left, right)
                for test, left, right in zip(tests, values, values[1:], strict=False)
            )

        return compare

    def term(node: ast.expr) -> Evaluate:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            value = node.value
            return lambda lookup: value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign = -1 if isinstance(node.op, ast.USub) else 1
            inner = _number(term(node.operand))
            return lambda lookup: sign * inner(lookup)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            combine = ARITHMETIC[type(node.op)]
            left, right = _number(term(node.left)), _number(term(node.right))
            return lambda lookup: combine(left(lookup), right(lookup))
        if isinstance(node, ast.Name | ast.Attribute):
            key = resolve(dotted(node))
            return lambda lookup: lookup(key)
        raise refuse(f"{ast.unparse(node)!r} is not understood")

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Name):
            return node.id
        raise refuse(f"{ast.unparse(node)!r} is no setting")

    try:
        return Constraint(text, source, truth(tree))
    except RecursionError as error:
        raise refuse("nested too deeply") from error


def _number(evaluate: Evaluate) -> Evaluate:
    """Let only numbers through: a text times a number would be a long text."""

    def number(lookup: Lookup) -> Any:
        value = evaluate(lookup)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"got {value!r}, expected a number")
        return value

    return number


def _switch(evaluate: Evaluate) -> Evaluate:
    def switch(lookup: Lookup) -> bool:
        value = evaluate(lookup)
        if not isinstance(value, bool):
            raise TypeError(f"got {value!r}, expected true or false")
        return value

    return switch
