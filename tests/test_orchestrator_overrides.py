"""Hydra's override grammar, as it is documented, read into settings, options and axes."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.overrides import Pattern, parse_overrides


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("a.b=1", "a.b", 1),
        ("a.b=1.0", "a.b", 1.0),
        ("a.b=1e-3", "a.b", 1e-3),
        ("a.b=true", "a.b", True),
        ("a.b=null", "a.b", None),
        ("a.b=text", "a.b", "text"),
        ("a.b='1'", "a.b", "1"),
        ('a.b="x, y=z"', "a.b", "x, y=z"),
        ("a.b=[1,'x']", "a.b", [1, "x"]),
        ("a.b={c:'1'}", "a.b", {"c": "1"}),
        ("a.b=", "a.b", ""),
        ("a.b=/some/path.txt", "a.b", "/some/path.txt"),
    ],
)
def test_a_setting_is_read(argument: str, key: str, value: Any) -> None:
    settings = parse_overrides([argument]).settings
    assert settings == {key: value}
    assert type(settings[key]) is type(value)


def test_groups_and_axes_are_told_apart() -> None:
    parsed = parse_overrides(["tier=cpu", "a.b=1,2", "a.c='x',y"])
    assert (parsed.groups, parsed.settings) == ({"tier": "cpu"}, {})
    assert parsed.axes == {"a.b": [1, 2], "a.c": ["x", "y"]}
    assert parse_overrides([]).settings == {}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("foo", "got 'foo', expected key=value"),
        ("+a.b=1", "settings are neither added nor deleted"),
        ("++a.b=1", "settings are neither added nor deleted"),
        ("~a.b", "settings are neither added nor deleted"),
        ("a.b=shuffle(1,2)", "the search decides the order: --search random shuffles"),
        ("a.b=shuffle(range(1,4))", "the search decides the order"),
        ("a.b=tag(x,interval(1,4))", "got tag x, expected none, or log on an interval"),
        ("a.b=tag(log,choice(1,2))", "got tag log, expected none, or log on an interval"),
        ("a.b=range(1,4,0)", "expected finite numbers, and a step that is not 0"),
        ("a.b=range(0,inf)", "expected finite numbers"),
        ("a.b=choice(1,choice(2,3))", "a sweep inside of another one"),
        ("a.b=choice()", "empty choice"),
        ("a.b=sort(1,x)", "cannot read 'a.b=sort(1,x)'"),
        ("a.b=str(range(1,4))", "Range can only be cast to int or float"),
        ("a.b=glob([!n]*)", "in quotes: key=glob('[!a]*'), or key=glob(*,exclude=a*)"),
        ("a.b=shuffle(glob(*))", "cannot read"),
        ("a.b = 1", "no spaces beside the sign"),
        ("a.b=1,2,", "cannot read"),
        ("model@here=theos_small", "got the package here"),
        ("a.b=[1", "cannot read 'a.b=[1'"),
        ("a.b=" + "9" * 5_000, "Exceeds the limit"),
        ("a.b=x y: z}", "cannot read"),
    ],
)
def test_what_the_grammar_does_not_take_is_refused(argument: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_overrides([argument])
    (problem,) = caught.value.problems
    assert str(problem).startswith("command line: ")
    assert expected in str(problem)
    assert problem.hint


@pytest.mark.parametrize(
    "pair", [("a.b=1", "a.b=2"), ("a.b=1", "a.b=1,2"), ("tier=cpu", "tier=low_vram")]
)
def test_nothing_is_given_twice(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        parse_overrides(pair)


@pytest.mark.parametrize(
    ("argument", "axis"),
    [
        ("a=1,2", [1, 2]),
        ("a=choice(x,y)", ["x", "y"]),
        ("a=choice('x,y',z)", ["x,y", "z"]),
        ('a=choice("it\'s","a b")', ["it's", "a b"]),
        ("a=x\\,y,z", ["x,y", "z"]),
        ("a=[1,2],[3,4]", [[1, 2], [3, 4]]),
        ("a=x , y", ["x", "y"]),
        ("a=null,1", [None, 1]),
        ("a=true,false", [True, False]),
        ("a=int(choice(1.0,2.5))", [1, 2]),
        ("a=str(1,2)", ["1", "2"]),
        ("a=bool(0,1)", [False, True]),
        ("a=sort(3,1,2)", [1, 2, 3]),
        ("a=sort(3,1,2,reverse=true)", [3, 2, 1]),
        ("a=sort(b,'a')", ["a", "b"]),
        ("a=range(start=1,stop=4)", {"integer": [1, 3], "step": 1}),
        ("a=range(1.5,3)", {"uniform": [1.5, 2.5], "step": 1.0}),
        ("a=float(range(1,4))", {"uniform": [1.0, 3.0], "step": 1.0}),
        ("a=interval(1,5)", {"uniform": [1.0, 5.0]}),
        ("a=int(interval(1.5,5.5))", {"integer": [1, 5]}),
        ("a=glob(*)", Pattern(("*",))),
        ("a=glob([b*,c*],exclude=[d*,e])", Pattern(("b*", "c*"), ("d*", "e"))),
        ("a=glob('[!n]*')", Pattern(("[!n]*",))),
        ("a=range(1,10,2)", {"integer": [1, 9], "step": 2}),
        ("a=range(9,0,-4)", {"integer": [1, 9], "step": 4}),
        ("a=range(3)", {"integer": [0, 2], "step": 1}),
        ("a=range(3,4)", [3]),
        ("a=range(4,4)", []),
        ("a=range(0,1,0.1)", {"uniform": [0.0, 0.9], "step": 0.1}),
        ("a=interval(0,1)", {"uniform": [0.0, 1.0]}),
        ("a=int(interval(2,12))", {"integer": [2, 12]}),
        ("a=tag(log,interval(1e-4,1e-2))", {"log_uniform": [1e-4, 1e-2]}),
        ("a=tag(log,int(interval(1,99)))", {"integer": [1, 99], "log": True}),
        ("a=range(1,1000000000000)", {"integer": [1, 10**12 - 1], "step": 1}),
    ],
)
def test_hydras_sweeps_are_axes(argument: str, axis: object) -> None:
    assert parse_overrides([argument]).axes == {"a": axis}
