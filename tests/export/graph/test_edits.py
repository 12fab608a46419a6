import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

import onnx_ir as ir
from tests.support.graphs import answers, graph

from lanner_export.graph.edits import (
    add_constant,
    biased,
    constant,
    insert,
    only_consumer,
    producer,
    replace_input,
    scalar,
)

B = np.array([1.0, 2.0], np.float32)


def small(body: str = "y = Add(x, b)\nz = Relu(y)") -> ir.Model:
    return graph("float[n, 2] x", "float[n, 2] z", body, {"b": B, "two": np.array([2.0], "f")})


def test_constants_are_initializers_and_nothing_else() -> None:
    model = small("y = Mul(x, two)\nz = Add(y, b)")
    add = list(model.graph)[1]
    np.testing.assert_array_equal(constant(add.inputs[1]), B)
    assert constant(add.inputs[0]) is None
    assert constant(None) is None
    assert scalar(next(iter(model.graph)).inputs[1]) == 2.0
    assert scalar(add.inputs[1]) is None


def test_an_initializer_that_a_caller_may_replace_is_no_constant() -> None:
    model = graph("float[n, 2] x, float[2] b", "float[n, 2] z", "z = Add(x, b)", {"b": B})
    assert constant(next(iter(model.graph)).inputs[1]) is None


def test_a_taken_name_gets_a_number() -> None:
    model = small()
    names = [add_constant(model.graph, "b", B * factor).name for factor in (2, 3)]
    assert names == ["b_2", "b_3"]
    np.testing.assert_array_equal(constant(model.graph.initializers["b"]), B)
    np.testing.assert_array_equal(constant(model.graph.initializers["b_3"]), B * 3)


def test_a_node_is_put_in_front_of_another() -> None:
    model = small()
    add, relu = model.graph
    negated = insert(relu, "Neg", [add.outputs[0]], name="negated")
    replace_input(relu, add.outputs[0], negated)
    assert [node.op_type for node in model.graph] == ["Add", "Neg", "Relu"]
    (found,) = answers(model, {"x": np.array([[-3.0, 1.0]], np.float32)})
    np.testing.assert_array_equal(found, [[2.0, 0.0]])


def test_names_are_given_once() -> None:
    model = small()
    relu = list(model.graph)[1]
    names = [insert(relu, "Neg", [relu.inputs[0]], name=name).name for name in ("x", "y", "y")]
    assert names == ["x_2", "y_2", "y_3"]
    assert add_constant(model.graph, "y", B).name == "y_4"


def test_producers_and_only_consumers() -> None:
    model = small()
    add, relu = model.graph
    assert producer(relu.inputs[0], "Add") is add
    assert producer(relu.inputs[0], "Mul") is None
    assert producer(add.inputs[0], "Add") is None
    assert only_consumer(add.outputs[0], "Relu") is relu
    assert only_consumer(add.outputs[0], "Neg") is None
    model.graph.outputs.append(add.outputs[0])  # the caller sees the change too
    assert only_consumer(add.outputs[0], "Relu") is None


@pytest.mark.parametrize(
    ("body", "is_biased"),
    [
        ("z = Add(x, b)", True),
        ("z = Add(b, x)", True),
        ("z = Add(x, x)", False),
        ("z = Mul(x, b)", False),
        ("z = Add(x, row)", False),
    ],
)
def test_a_bias_is_a_constant_vector_on_either_side(body: str, is_biased: bool) -> None:
    constants = {"b": B, "row": B[None]}
    model = graph("float[n, 2] x", "float[n, 2] z", body, constants)
    parts = biased(next(iter(model.graph)))
    assert (parts is not None) == is_biased
    if parts is not None:
        assert [value.name for value in parts] == ["x", "b"]


def test_an_input_is_replaced_wherever_it_stands() -> None:
    model = small("z = Add(x, x)")
    add = next(iter(model.graph))
    ones = add_constant(model.graph, "ones", np.ones((1, 2), "f"))
    replace_input(add, model.graph.inputs[0], ones)
    assert list(add.inputs) == [ones, ones]


def test_a_number_stays_a_number() -> None:
    value = add_constant(small().graph, "number", np.array(0.5, np.float32))
    assert value.shape == ir.Shape(())
    assert value.const_value is not None
    assert value.const_value.shape == ir.Shape(())
