# SPDX-License-Identifier: Apache-2.0
"""Every error convsmith raises on purpose.

    ConvsmithError
    ├── ShapeError        sizes, strides, padding or channels that do not fit together
    │                     (ValueError, RuntimeError)
    ├── ArgumentError     an argument of the wrong kind or outside its choices
    │                     (ValueError, TypeError)
    ├── UnsupportedError  a sound request that convsmith does not serve (NotImplementedError)
    ├── CaptureError      a model whose graph cannot be taken (RuntimeError)
    ├── RewriteError      a rewrite asked for by name that cannot be done (RuntimeError)
    ├── ScanError         a scan that ended with tiles missing (RuntimeError)
    ├── FormatError       a file or folder that is damaged, hostile or of another version
    │                     (ValueError)
    └── NativeError       the compiled core refused or is missing (RuntimeError)

Each one is also the builtin that a caller would expect. `ShapeError` is a `RuntimeError` too, which
is what torch raises for the same mistake: code that catches torch's error catches ours.
"""

from collections.abc import Mapping


class ConvsmithError(Exception):
    """The root: catch this to catch everything convsmith raises on purpose."""


class ShapeError(ConvsmithError, ValueError, RuntimeError):
    """Sizes, strides, padding or channels do not fit together."""


class ArgumentError(ConvsmithError, ValueError, TypeError):
    """An argument is of the wrong kind or outside its choices."""


class UnsupportedError(ConvsmithError, NotImplementedError):
    """A sound request that convsmith does not serve; the message names what does."""


class CaptureError(ConvsmithError, RuntimeError):
    """A model's graph cannot be taken; the message names the module and the line."""


class RewriteError(ConvsmithError, RuntimeError):
    """A rewrite asked for by name cannot be done on this model."""


class ScanError(ConvsmithError, RuntimeError):
    """A scan ended with tiles missing; `failed` says which, and why."""

    def __init__(self, message: str, failed: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.failed = dict(failed or {})


class FormatError(ConvsmithError, ValueError):
    """A file or folder is damaged, hostile or written by another version."""


class NativeError(ConvsmithError, RuntimeError):
    """The compiled core refused the call or is missing."""
