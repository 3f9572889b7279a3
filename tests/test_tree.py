"""Containers are taken apart and put together again."""

import collections
import dataclasses
import typing

import numpy as np
import pytest

from autograd_c.tree import (
    Structure,
    UntraceableLeaf,
    argument_leaf,
    describe,
    flatten,
    gather,
    locate,
    map_leaves,
    result_leaf,
    unflatten,
)


class Point(typing.NamedTuple):
    x: object
    y: object


class Layers(list):
    pass


@dataclasses.dataclass
class Record:
    value: float


ARRAY = np.arange(3.0)

CONTAINERS = [
    1.0,
    ARRAY,
    [],
    (),
    {},
    [1.0, 2.0],
    (1.0, [2.0, (3.0,)]),
    Point(1.0, [2.0]),
    {"b": 1.0, "a": (2.0, None), 3: "text"},
    collections.OrderedDict([("z", 1.0), ("y", {"x": 2.0})]),
    Layers([1.0, Layers([2.0])]),
    [None, True, "text", 1j, np.float32(2), Record(3.0), len],
]


@pytest.mark.parametrize("tree", CONTAINERS, ids=repr)
def test_unflatten_inverts_flatten(tree):
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert again == tree if not isinstance(tree, np.ndarray) else again is tree
    assert type(again) is type(tree)
    assert flatten(again)[1] == structure
    assert gather(structure, tree) == leaves


def test_leaves_are_in_the_order_of_iteration():
    tree = {"z": 1.0, "a": [2.0, Point(3.0, 4.0)], "m": (None, 5.0)}
    assert flatten(tree)[0] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_keys_keep_their_order_when_rebuilt():
    _, structure = flatten({"z": 1.0, "a": 2.0})
    assert list(unflatten(structure, [10.0, 20.0]).items()) == [("z", 10.0), ("a", 20.0)]


def test_default_dict_keeps_its_factory():
    tree = collections.defaultdict(list, {"a": 1.0})
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert again == tree
    assert again.default_factory is list


def test_a_structure_does_not_keep_the_container_alive():
    big = np.ones(10)
    tree = collections.OrderedDict(a=big)
    _, structure = flatten(tree)
    assert structure.value == {}


def test_constants_become_none_in_a_gradient():
    leaves, structure = flatten(["name", 1.0, {"flag": True, "w": 2.0}])
    assert unflatten(structure, leaves, constants=False) == [None, 1.0, {"flag": None, "w": 2.0}]


@pytest.mark.parametrize(
    "one, other",
    [
        ([1.0], (1.0,)),
        ([1.0], [1.0, 2.0]),
        ([1.0], 1.0),
        ([1.0], ["text"]),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, collections.OrderedDict(a=1.0)),
        (Point(1.0, 2.0), (1.0, 2.0)),
    ],
)
def test_different_structures_are_unequal(one, other):
    first, second = flatten(one)[1], flatten(other)[1]
    assert first != second
    assert not first == second


@pytest.mark.parametrize("one, other", [({"a": 1.0, "b": 2.0}, {"b": 5.0, "a": 7.0}), ([None], ["text"])])
def test_equal_structures(one, other):
    assert flatten(one)[1] == flatten(other)[1]


def test_repr_of_structures():
    assert repr(flatten([1.0, (2.0, None), {"a": 3.0}])[1]) == (
        "list(LEAF, tuple(LEAF, Constant(None)), dict('a': LEAF))"
    )
    assert flatten(1.0)[1].is_leaf


def test_gather_follows_the_keys_not_their_order():
    _, structure = flatten({"a": 1.0, "b": [2.0, None]})
    assert gather(structure, {"b": [20.0, "anything"], "a": 10.0}) == [10.0, 20.0]


@pytest.mark.parametrize(
    "tree, other, message",
    [
        ([1.0, 2.0], [1.0], r"expected a list of 2, got a list of 1"),
        ([1.0, (2.0,)], [1.0, [2.0]], r"expected a tuple of 1 at \[1\], got a list of 1"),
        ({"a": [1.0]}, {"a": [[1.0]]}, r"expected a number or an array at \['a'\]\[0\], got a list"),
        ({"a": 1.0}, {"b": 1.0}, r"expected a dict with the keys \['a'\], got the keys \['b'\]"),
        ({"a": 1.0}, 1.0, r"expected a dict with the keys \['a'\], got the float 1.0"),
        ([1.0], [None], r"expected a number or an array at \[0\], got None"),
    ],
)
def test_gather_names_the_first_difference(tree, other, message):
    with pytest.raises(ValueError, match=message):
        gather(flatten(tree)[1], other)


NUMBERS = [1.0, 1j, np.float16(1), np.float32(1), np.longdouble(1), np.complex64(1), ARRAY, ARRAY + 1j]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_floats_are_leaves_everywhere(value):
    assert argument_leaf(value)
    assert result_leaf(value)


@pytest.mark.parametrize(
    "value", [None, "text", b"bytes", len, Record(1.0), {1, 2}, np.str_("text")], ids=repr
)
def test_objects_are_constants_everywhere(value):
    assert not argument_leaf(value)
    assert not result_leaf(value)
    assert flatten(value)[1].is_constant


@pytest.mark.parametrize("value", [True, np.True_, np.array([True, False])], ids=repr)
def test_bools_are_constants_in_arguments_and_numbers_in_results(value):
    assert not argument_leaf(value)
    assert result_leaf(value)


@pytest.mark.parametrize(
    "value, cure",
    [
        (3, r"the int 3 cannot be differentiated: pass a float instead, e\.g\. 3\.0"),
        (np.int64(3), r"the int64 3 .*e\.g\. 3\.0"),
        (np.arange(3), r"an array of int64 and shape \(3,\) .*x\.astype\(float\)"),
        (np.zeros(2, dtype=np.uint8), r"uint8 .*x\.astype\(float\)"),
    ],
)
def test_integers_are_refused_in_arguments_only(value, cure):
    with pytest.raises(UntraceableLeaf, match=cure) as caught:
        argument_leaf(value)
    assert caught.value.value is value
    assert result_leaf(value)


@pytest.mark.parametrize("value", [np.array([None, 1.0]), np.zeros(2, dtype=[("a", float)])], ids=str)
@pytest.mark.parametrize("is_leaf", [argument_leaf, result_leaf])
def test_objects_and_records_in_arrays_are_refused(value, is_leaf):
    with pytest.raises(UntraceableLeaf, match="make it an array of floats"):
        is_leaf(value)


def test_map_leaves_keeps_constants():
    assert map_leaves(lambda x: x + 1, [1.0, {"a": 2, "b": None}]) == [2.0, {"a": 3, "b": None}]


def test_locate():
    target = object()
    assert locate({"w": [1.0, (2.0, target)]}, target) == "['w'][1][1]"
    assert locate([1.0, 2.0], target) == ""
    assert locate(target, target) == ""


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "None"),
        ("some", "the str 'some'"),
        (np.float32(1.5), "the float32 1.5"),
        ({}, "a dict"),
        (object(), "an object"),
        (ARRAY, "an array of float64 and shape (3,)"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


def test_the_number_of_leaves_must_fit():
    _, structure = flatten([1.0, 2.0])
    for leaves in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=f"{len(leaves)} leaves for a structure of 2"):
            unflatten(structure, leaves)


def test_a_list_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError, match="a container holds itself"):
        flatten(loop)


def test_structures_are_not_made_by_hand():
    with pytest.raises(TypeError, match="made by flatten"):
        Structure()


def test_a_long_list_is_taken_apart_in_linear_time_and_no_recursion():
    leaves, structure = flatten([0.0] * 100_000)
    assert len(leaves) == len(structure.children) == 100_000
    assert unflatten(structure, leaves) == [0.0] * 100_000
