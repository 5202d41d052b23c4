# SPDX-License-Identifier: Apache-2.0
"""The tree of errors: one root, and each the builtin a caller would catch."""

import inspect

import pytest

from convsmith import errors
from convsmith.errors import (
    ArgumentError,
    CaptureError,
    ConvsmithError,
    FormatError,
    NativeError,
    RewriteError,
    ScanError,
    ShapeError,
    UnsupportedError,
)

BUILTINS = {
    ShapeError: (ValueError, RuntimeError),
    ArgumentError: (ValueError, TypeError),
    UnsupportedError: (NotImplementedError,),
    CaptureError: (RuntimeError,),
    RewriteError: (RuntimeError,),
    ScanError: (RuntimeError,),
    FormatError: (ValueError,),
    NativeError: (RuntimeError,),
}


@pytest.mark.parametrize(("error", "builtins"), BUILTINS.items())
def test_an_error_is_caught_as_convsmith_s_and_as_its_builtins(
    error: type[ConvsmithError], builtins: tuple[type[Exception], ...]
) -> None:
    assert error.__bases__ == (ConvsmithError, *builtins)
    for caught in (ConvsmithError, *builtins):
        with pytest.raises(caught, match="kernel 3 over 2 inputs"):
            raise error("kernel 3 over 2 inputs")


def test_the_drawing_names_every_error() -> None:
    """And the table above does: no error is missing from either."""
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    defined = {value for value in classes if issubclass(value, BaseException)}
    assert defined == {ConvsmithError, *BUILTINS}
    for error in defined:
        assert error.__name__ in (errors.__doc__ or "")
        assert error.__doc__
