# SPDX-License-Identifier: Apache-2.0
"""Einstein sums as matrix products: TensorFlow.js has no Einsum, Core ML has two equations of it."""

from collections.abc import Sequence
from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites


def einsum(operation: Operation) -> Any:
    """Write a sum over two operands as one matrix product.

    y = Einsum("bqhd,bkhd->bhqk", a, b)    becomes    y = BatchMatMul(Transpose(a, [b,h,q,d]), Transpose(b, [b,h,k,d]), adj_y)
    y = Einsum("bsd,dhe->bshe", a, w)      becomes    y = Reshape(MatMul(Reshape(a, [b*s,d]), Reshape(w, [d,h*e])))
    """
    import tensorflow as tf

    terms, _, out = operation.node.attr["equation"].s.decode().partition("->")
    left, _, right = terms.partition(",")
    if not _is_product(left, right, out):
        return None
    batch, summed = [x for x in left if x in right and x in out], [x for x in left if x in right and x not in out]
    rows, columns = [x for x in left if x not in right], [x for x in right if x not in left]
    a, b = operation.inputs
    sizes = dict(zip([*left, *right], [*a.shape, *b.shape], strict=True))
    # At most one size may be open, that of the batch of images.
    if sum(sizes[x] is None for x in {*left, *right}) > 1:
        return None
    first = _shaped(_ordered(a, left, [*batch, *rows, *summed]), [batch, rows, summed], sizes)
    is_ordered = list(right) == [*batch, *columns, *summed]
    order = [columns, summed] if is_ordered else [summed, columns]
    second = _shaped(_ordered(b, right, [*batch, *order[0], *order[1]]), [batch, *order], sizes)
    product = tf.matmul(first, second, transpose_b=is_ordered)
    whole = _reshaped(product, [sizes[x] for x in (*batch, *rows, *columns)])
    return _ordered(whole, [*batch, *rows, *columns], list(out))


def _is_product(left: str, right: str, out: str) -> bool:
    """Return whether an equation has two operands, each name once in each, and sums only over what both have."""
    if not left or not right or not (left + right + out).isalpha() or len({*left}) < len(left) or len({*right}) < len(right):
        return False
    alone = set(left) ^ set(right)
    return alone <= set(out) and set(out) <= {*left, *right}


def _ordered(tensor: Any, names: Sequence[str], wanted: list[str]) -> Any:
    import tensorflow as tf

    order = [list(names).index(name) for name in wanted]
    return tensor if order == sorted(order) else tf.transpose(tensor, order)


def _shaped(tensor: Any, parts: list[list[str]], sizes: dict[str, int | None]) -> Any:
    """Return a tensor with the batch axes as they are, and one axis for each other part."""
    batch, *others = parts
    return _reshaped(tensor, [*(sizes[x] for x in batch), *(_product([sizes[x] for x in part]) for part in others)])


def _product(sizes: Sequence[int | None]) -> int | None:
    total = 1
    for size in sizes:
        if size is None:
            return None
        total *= size
    return total


def _reshaped(tensor: Any, sizes: list[int | None]) -> Any:
    import tensorflow as tf

    return tensor if tensor.shape.as_list() == sizes else tf.reshape(tensor, [-1 if size is None else size for size in sizes])


PRODUCTS: Final = Rewrites("Einstein sums as matrix products", {"Einsum": einsum})
