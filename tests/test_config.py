import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import property_test
from unlearn.attack import Pgd
from unlearn.config import apply_settings, from_plain, to_plain
from unlearn.errors import UsageProblem
from unlearn.methods import METHODS, MinMaxMin
from unlearn.methods.stage_one import StageOne
from unlearn.radius import Radius
from unlearn.training import Schedule
from unlearn.views import Views


@dataclass(frozen=True)
class Inner:
    share: Fraction = Fraction(1, 3)
    on: bool = False


@dataclass(frozen=True)
class Outer:
    """One field of every kind that a configuration may have."""

    count: int
    name: str = "a"
    rate: float = 0.5
    form: Literal["round", "square"] = "round"
    limit: Radius | None = None
    inner: Inner = Inner()
    names: tuple[str, ...] = ()
    inners: tuple[Inner, ...] = ()
    ends: tuple[int, int] = (1, 2)
    maybe: Inner | None = None
    spare: Inner | None = field(default=None, metadata={"like": "inner"})


radii = st.fractions(Fraction(1, 1000), Fraction(99, 100), max_denominator=4000)
shares = st.fractions(Fraction(1, 100), 1, max_denominator=1000)
positive = st.floats(1e-6, 1e6)


@st.composite
def attacks(draw, largest):
    radius = draw(st.fractions(0, largest, max_denominator=10_000))
    step = radius * draw(st.fractions(0, 1, max_denominator=100))
    return Pgd(
        Radius(radius),
        Radius(step),
        steps=draw(st.integers(0, 100)),
        views=draw(st.integers(1, 10)),
        random_start=draw(st.booleans()),
    )


@st.composite
def methods(draw):
    unlearn = draw(attacks(Fraction(99, 100)).filter(lambda attack: attack.radius.value > 0))
    views = Views(
        flip=draw(st.booleans()),
        pad=draw(st.integers(0, 16)),
        smallest_crop=draw(st.floats(0.01, 1)),
        grey=draw(st.floats(0, 1)),
        jpeg=draw(st.floats(0, 1)),
        quality=tuple(sorted(draw(st.tuples(*[st.integers(1, 100)] * 2)))),
        shrink=draw(st.floats(0, 1)),
        blur=draw(st.floats(0, 1)),
    )
    schedule = Schedule(
        steps=draw(st.integers(1, 10**6)),
        batch_size=draw(st.integers(1, 4096)),
        learning_rate=draw(positive),
        momentum=draw(st.floats(0, 1)),
        weight_decay=draw(st.floats(0, 1)),
        decay_every=draw(shares),
        decay=draw(st.floats(0, 1)),
    )
    return MinMaxMin(
        noise=StageOne(unlearn, views),
        adversary=draw(
            attacks(unlearn.radius.value).filter(lambda attack: attack.radius < unlearn.radius)
        ),
        randomness=draw(st.sampled_from(["norm", "squared", "mse"])),
        randomness_weight=draw(st.floats(0, 1e3)),
        joint=draw(st.booleans()),
        schedule=schedule,
    )


def through_json(value):
    return from_plain(type(value), json.loads(json.dumps(to_plain(value))))


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_the_default_configuration_of_every_method_round_trips(method):
    assert through_json(method()) == method()


@property_test
@given(methods())
def test_any_configuration_round_trips_through_json(method):
    assert through_json(method) == method


@property_test
@given(methods())
def test_fields_that_are_left_out_take_their_defaults(method):
    plain = to_plain(method)
    del plain["schedule"], plain["noise"]["views"]["pad"]
    noise = replace(method.noise, views=replace(method.noise.views, pad=4))
    expected = replace(method, schedule=Schedule(), noise=noise)
    assert from_plain(MinMaxMin, plain) == expected


def test_every_kind_of_field_round_trips():
    for value in [
        Outer(1),
        Outer(
            -3,
            "é",
            1.25,
            "square",
            Radius.parse("1.6/255"),
            Inner(Fraction(2, 7), on=True),
            ("x", "y"),
            (Inner(), Inner(on=True)),
        ),
    ]:
        assert through_json(value) == value


def test_plain_values_are_what_json_takes():
    plain = to_plain(MinMaxMin())
    assert plain["noise"]["attack"]["radius"] == "8/255"
    assert plain["noise"]["attack"]["step"] == "1.6/255"
    assert plain["adversary"]["step"] == "0.8/255"
    assert plain["schedule"]["decay_every"] == "2/5"
    assert to_plain([1, (Fraction(1, 2), None)]) == [1, ["1/2", None]]


def test_every_field_of_a_method_is_in_its_plain_values():
    def names(value):
        return (
            {f.name: names(getattr(value, f.name)) for f in fields(value)} if nested(value) else 0
        )

    def nested(value):
        return is_dataclass(value) and not isinstance(value, Radius)

    def keys(plain):
        return {k: keys(v) for k, v in plain.items()} if isinstance(plain, dict) else 0

    assert keys(to_plain(MinMaxMin())) == names(MinMaxMin())


def test_whole_numbers_are_read_as_floats():
    assert from_plain(Outer, {"count": 1, "rate": 2}).rate == 2.0
    assert isinstance(from_plain(Outer, {"count": 1, "rate": 2}).rate, float)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([], "config: expected a table, got []"),
        (None, "config: expected a table, got None"),
        ({"count": 1, "zzz": 2}, "config: unknown field 'zzz'; known: count, ends, form, inner"),
        ({"count": "1"}, "config.count: expected int, got '1'"),
        ({"count": True}, "config.count: expected int, got True"),
        ({"count": 1.0}, "config.count: expected int, got 1.0"),
        ({"count": 1, "name": None}, "config.name: expected str, got None"),
        ({"count": 1, "rate": "0.5"}, "config.rate: expected float, got '0.5'"),
        ({"count": 1, "rate": False}, "config.rate: expected float, got False"),
        ({"count": 1, "form": "oval"}, "config.form: 'oval' is not one of round, square"),
        ({"count": 1, "form": ["round"]}, "config.form: ['round'] is not one of round, square"),
        ({"count": 1, "limit": 8}, "config.limit: expected Radius, got 8"),
        ({"count": 1, "limit": "8"}, "did you mean 8/255?"),
        ({"count": 1, "inner": {"on": 1}}, "config.inner.on: expected bool, got 1"),
        ({"count": 1, "inner": 3}, "config.inner: expected a table, got 3"),
        ({"count": 1, "inner": {"share": 0.5}}, "config.inner.share: expected Fraction, got 0.5"),
        ({"count": 1, "inner": {"share": "half"}}, "config.inner.share: expected Fraction"),
        ({"count": 1, "inner": {"share": "1/0"}}, "config.inner.share: expected Fraction"),
        ({"count": 1, "names": "ab"}, "config.names: expected tuple"),
        ({"count": 1, "names": ["a", 2]}, "config.names: expected str, got 2"),
        ({"name": "a"}, "config: missing field 'count'"),
        ({"count": 1, "ends": [1]}, "config.ends: expected 2 values, got [1]"),
        ({"count": 1, "ends": [1, 2, 3]}, "config.ends: expected 2 values, got [1, 2, 3]"),
    ],
)
def test_wrong_values_are_refused_with_their_place(plain, message):
    with pytest.raises(UsageProblem) as caught:
        from_plain(Outer, plain)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_configuration_forbids_is_refused_on_reading_too():
    plain = to_plain(MinMaxMin())
    plain["adversary"]["radius"] = "8/255"
    with pytest.raises(UsageProblem, match="rho-a 8/255 must be below rho 8/255"):
        from_plain(MinMaxMin, plain)


# Settings, as a person types them


def changed(*settings, value=None):
    value = value or Outer(1, maybe=Inner())
    plain = to_plain(value)
    apply_settings(type(value), plain, settings)
    return from_plain(type(value), plain)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("count=7", {"count": 7}),
        (" count = 7 ", {"count": 7}),
        ("name=7", {"name": "7"}),
        ("name=a=b", {"name": "a=b"}),
        ("rate=2", {"rate": 2.0}),
        ("rate=1e-3", {"rate": 0.001}),
        ("form=square", {"form": "square"}),
        ("limit=8/255", {"limit": Radius.of_levels(8)}),
        ("limit=0", {"limit": Radius.of_levels(0)}),
        ("limit=none", {"limit": None}),
        ("maybe=none", {"maybe": None}),
        ("names=a,b", {"names": ("a", "b")}),
        ("names= a , 2", {"names": ("a", "2")}),
        ("names=", {"names": ()}),
        ("ends=3,4", {"ends": (3, 4)}),
        ("inner.on=true", {"inner": Inner(on=True)}),
        ("inner.share=2/5", {"inner": Inner(share=Fraction(2, 5))}),
        ("maybe.on=true", {"maybe": Inner(on=True)}),
    ],
)
def test_a_setting_is_read_as_the_type_of_its_field(setting, expected):
    before = Outer(1, maybe=Inner())
    assert changed(setting) == replace(before, **expected)


def test_parts_of_a_field_that_is_none_begin_as_those_of_the_field_that_it_is_like():
    settings = ("spare.on=true", "inner.share=1/7", "spare.share=1/3", "inner.on=true")
    for order in (settings, settings[::-1]):
        value = changed(*order, value=Outer(1))
        assert value.inner == Inner(Fraction(1, 7), on=True)
        assert value.spare == Inner(Fraction(1, 3), on=True)
    assert changed("spare.on=true", "inner.share=1/7").spare == Inner(Fraction(1, 7), on=True)
    assert changed("inner.on=true").spare is None


def test_later_settings_win_and_only_the_result_has_to_make_sense():
    assert changed("count=2", "count=3").count == 3
    settings = ("adversary.radius=9/255", "noise.attack.radius=12/255")
    method = changed(*settings, value=MinMaxMin())
    assert (method.adversary.radius, method.bound) == (Radius.of_levels(9), Radius.of_levels(12))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("count", "'count' is no setting; write name=value"),
        ("zzz=1", "unknown field 'zzz'; known: count, ends, form"),
        ("inner.zzz=1", "unknown field 'zzz'; known: on, share"),
        ("count.zzz=1", "count has no field 'zzz'; it is 1"),
        ("limit.value=1", "limit has no field 'value'; it is None"),
        ("count=many", "config.count: expected int, got 'many'"),
        ("count=none", "config.count: expected int, got 'none'"),
        ("count=1.5", "config.count: expected int, got 1.5"),
        ("inner.on=yes", "config.inner.on: expected bool, got 'yes'"),
        ("inner=1", "config.inner: expected a table, got '1'"),
        ("form=oval", "'oval' is not one of round, square"),
        ("ends=1", "config.ends: expected 2 values, got [1]"),
        ("limit=8", "did you mean 8/255?"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, message):
    with pytest.raises(UsageProblem) as caught:
        changed(setting)
    assert message in str(caught.value)
