"""ONNX forms of operations that change a shape, without the sizes that they have in the example of the trace.

The exporter of torch knows the sizes of the example. Where it cannot derive the sizes of a result from those of the
inputs, it takes those of the example for constants, and the file fits no other clip. These forms declare sizes unknown.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

OPSET = 17


@contextmanager
def sizes_unknown() -> Iterator[None]:
    """Let `torch.onnx.export` use the forms of this module within the block."""
    for name, form in _FORMS.items():
        torch.onnx.register_custom_op_symbolic(f"aten::{name}", form, OPSET)
    try:
        yield
    finally:
        for name in _FORMS:
            torch.onnx.unregister_custom_op_symbolic(f"aten::{name}", OPSET)


def _forgetting(form: Callable[..., Any]) -> Callable[..., Any]:
    """Return a form that keeps only the number of axes of its result."""

    def forgetful(graph: Any, *arguments: Any) -> Any:
        result = form(graph, *arguments)
        rank = graph.original_node.output().type().dim()
        result.setType(result.type().with_sizes([None] * rank))
        return result

    return forgetful


def _constant(graph: Any, *values: int) -> Any:
    return graph.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))


def _number(value: Any) -> int:
    """Return the value of a constant argument."""
    return int(value.node().t("value"))


def _reshaped(graph: Any, values: Any, shape: Any) -> Any:
    return graph.op("Reshape", values, _listed(graph, shape))


def _listed(graph: Any, shape: Any) -> Any:
    """Return a list of sizes as one tensor."""
    if shape.node().kind() != "prim::ListConstruct":
        return shape
    parts = [graph.op("Reshape", size, _constant(graph, 1)) for size in shape.node().inputs()]
    return graph.op("Concat", *parts, axis_i=0)


def _flattened(graph: Any, values: Any, first: Any, last: Any) -> Any:
    rank = values.type().dim()
    begin, end = (_number(axis) % rank for axis in (first, last))
    shape = graph.op("Shape", values)
    before = graph.op("Slice", shape, _constant(graph, 0), _constant(graph, begin))
    after = graph.op("Slice", shape, _constant(graph, end + 1), _constant(graph, rank))
    return graph.op("Reshape", values, graph.op("Concat", before, _constant(graph, -1), after, axis_i=0))


def _unflattened(graph: Any, values: Any, axis: Any, sizes: Any) -> Any:
    rank = values.type().dim()
    place = _number(axis) % rank
    shape = graph.op("Shape", values)
    before = graph.op("Slice", shape, _constant(graph, 0), _constant(graph, place))
    after = graph.op("Slice", shape, _constant(graph, place + 1), _constant(graph, rank))
    return graph.op("Reshape", values, graph.op("Concat", before, _listed(graph, sizes), after, axis_i=0))


def _expanded(graph: Any, values: Any, shape: Any, _: Any) -> Any:
    # ONNX's operation has 1 where torch's has -1.
    return graph.op("Expand", values, graph.op("Abs", _listed(graph, shape)))


_PLAIN: dict[str, Callable[..., Any]] = {
    "view": _reshaped,
    "reshape": _reshaped,
    "flatten": _flattened,
    "unflatten": _unflattened,
    "expand": _expanded,
}
_FORMS = {name: _forgetting(form) for name, form in _PLAIN.items()}
