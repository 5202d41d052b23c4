# SPDX-License-Identifier: Apache-2.0
"""Involution's functions: the multiply-add with given kernels along 1, 2 and 3 axes."""

from math import prod

from torch import Tensor

from convsmith.convs.involution.op import multiply_add
from convsmith.convs.padding import pad, resolve
from convsmith.convs.windows import windows
from convsmith.errors import ShapeError
from convsmith.geometry import Ints, per_axis


def reference(
    x: Tensor,
    kernels: Tensor,
    *,
    stride: Ints = 1,
    dilation: Ints = 1,
    kernel_size: Ints | None = None,
) -> Tensor:
    """The sum of the definition, one tap at a time, for any number of axes."""
    axes = x.ndim - 2
    kernel_size = _kernel_size(kernels.shape[2], axes, kernel_size)
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    grouped = pad(x, resolve("same", x.shape, kernel_size, stride, dilation)).unflatten(
        1, (kernels.shape[1], -1)
    )
    y = x.new_zeros(())
    for t, (_, view) in enumerate(windows(grouped, kernel_size, stride, dilation)):
        y = y + view * kernels[:, :, t].unsqueeze(2)
    return y.flatten(1, 2)


def involution1d(
    x: Tensor,
    kernels: Tensor,
    *,
    stride: Ints = 1,
    dilation: Ints = 1,
    kernel_size: Ints | None = None,
) -> Tensor:
    """`involution2d` along one axis: x (n, c, l), kernels (n, g, k, l').

    >>> involution1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3, 2), stride=2)
    tensor([[[3., 2.]]])
    """
    batched, kernels, sizes, strides, dilations = _checked(
        1, x, kernels, stride, dilation, kernel_size
    )
    ((before, after),) = resolve("same", x.shape, sizes, strides, dilations)
    y = multiply_add(
        batched.unsqueeze(2),
        kernels.unsqueeze(3),
        kernel_size=(1, *sizes),
        stride=(1, *strides),
        padding=(0, 0, before, after),
        dilation=(1, *dilations),
    )
    return y.squeeze(2) if batched is x else y.squeeze(2)[0]


def involution2d(
    x: Tensor,
    kernels: Tensor,
    *,
    stride: Ints = 1,
    dilation: Ints = 1,
    kernel_size: Ints | None = None,
) -> Tensor:
    """Sum each neighbourhood with the kernel of its own place; a group of channels shares one.

    y[n, c, p, q] = sum_{r,s} kernels[n, g, r*kw + s, p, q] x[n, c, p*stride + r*dilation - top,
    q*stride + s*dilation - left], g = c // (C / G)

    The padding is that of 'same': the output has ceil(h / stride) x ceil(w / stride) places.

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w).
        kernels: Shape (n, g, kh*kw, h', w'), or (g, kh*kw, h', w'); g divides c.
        stride: Input pixels from one output to the next; an int or one per axis.
        dilation: Input pixels from one tap to the next.
        kernel_size: (kh, kw); needed only where the kernel is not square.

    Returns:
        Shape (n, c, h', w').

    Raises:
        ShapeError: if the taps are not those of kernel_size, or of a square without it; if g does
            not divide c; if kernels and output differ in batch or size.

    Cost: n c h' w' kh kw macs.
    Source: Li et al., Involution: Inverting the Inherence of Convolution for Visual Recognition,
        2021, equation 4.

    >>> x, kernels = torch.arange(6.0).reshape(1, 1, 2, 3), torch.ones(1, 1, 9, 1, 2)
    >>> involution2d(x, kernels, stride=2)
    tensor([[[[ 8., 12.]]]])
    """
    batched, kernels, sizes, strides, dilations = _checked(
        2, x, kernels, stride, dilation, kernel_size
    )
    (top, bottom), (left, right) = resolve("same", x.shape, sizes, strides, dilations)
    y = multiply_add(
        batched,
        kernels,
        kernel_size=sizes,
        stride=strides,
        padding=(top, bottom, left, right),
        dilation=dilations,
    )
    return y if batched is x else y[0]


def involution3d(
    x: Tensor,
    kernels: Tensor,
    *,
    stride: Ints = 1,
    dilation: Ints = 1,
    kernel_size: Ints | None = None,
) -> Tensor:
    """`involution2d` along three axes: x (n, c, d, h, w), kernels (n, g, k*k*k, d', h', w').

    >>> involution3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 27, 3, 3, 3)).max()
    tensor(27.)
    """
    batched, kernels, sizes, strides, dilations = _checked(
        3, x, kernels, stride, dilation, kernel_size
    )
    depth, (top, bottom), (left, right) = resolve("same", x.shape, sizes, strides, dilations)
    padded = pad(batched, (depth, (0, 0), (0, 0)))
    slices = kernels.unflatten(2, (sizes[0], -1))  # (n, g, kd, kh*kw, d', h', w')
    y = x.new_zeros(())
    reads = windows(padded.movedim(2, -1), sizes[:1], strides[:1], dilations[:1])
    for (r,), read in reads:  # read: (n, c, h, w, d'), one plane for each output depth
        y = y + multiply_add(
            read.movedim(-1, 1).flatten(0, 1),
            slices[:, :, r].movedim(3, 1).flatten(0, 1),
            kernel_size=sizes[1:],
            stride=strides[1:],
            padding=(top, bottom, left, right),
            dilation=dilations[1:],
        )
    y = y.unflatten(0, (batched.shape[0], kernels.shape[3])).movedim(1, 2)
    return y if batched is x else y[0]


def _checked(
    axes: int,
    x: Tensor,
    kernels: Tensor,
    stride: Ints,
    dilation: Ints,
    kernel_size: Ints | None,
) -> tuple[Tensor, Tensor, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """x and kernels as a batch, and the integers per axis, once all of it fits together."""
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    who = f"involution{axes}d: kernels {tuple(kernels.shape)} do not fit x {tuple(x.shape)}"
    if x.ndim not in (axes + 1, axes + 2) or kernels.ndim != x.ndim + 1:
        raise ShapeError(
            f"{who}; {axes} spatial axes need x (n, c, ...) and kernels (n, g, taps, ...), both "
            "with or both without n"
        )
    if x.ndim == axes + 1:
        x, kernels = x[None], kernels[None]
    taps, groups = kernels.shape[2], kernels.shape[1]
    outputs = [-(-n // s) for n, s in zip(x.shape[2:], stride, strict=True)]
    if groups < 1 or x.shape[1] % groups:
        raise ShapeError(f"{who}; {x.shape[1]} channels must be divisible by {groups} groups")
    if kernels.shape[0] != x.shape[0] or list(kernels.shape[3:]) != outputs:
        raise ShapeError(
            f"{who} with stride {stride}; there must be a kernel for each of {x.shape[0]} images "
            f"and {' x '.join(map(str, outputs))} places"
        )
    return x, kernels, _kernel_size(taps, axes, kernel_size), stride, dilation


def _kernel_size(taps: int, axes: int, kernel_size: Ints | None) -> tuple[int, ...]:
    side = round(taps ** (1 / axes))
    sizes = per_axis("kernel_size", side if kernel_size is None else kernel_size, axes)
    if prod(sizes) != taps:
        raise ShapeError(
            f"involution{axes}d: kernels have {taps} taps, but a kernel of {sizes} has "
            f"{prod(sizes)}; give the kernel_size they were made for"
        )
    return sizes
