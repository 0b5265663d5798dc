"""Keep the memory on which signal handlers run from being freed by a library."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# `ss_flags` of a thread whose handlers run on its ordinary stack.
_DISABLED = 2


class _Stack(ctypes.Structure):
    """Hold Linux's `stack_t`."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def keeping_signal_stack() -> Iterator[None]:
    """Give the thread back the signal stack that it had before the block.

    OpenVINO 2026.4 gives the thread that loads its CPU plugin another one, and frees that with the plugin. If
    another thread does so, or a plugin was loaded meanwhile, it stays in use: the next signal, such as
    SIGTERM, then ends the process instead of running its handler.
    """
    if sys.platform != "linux":
        yield
        return
    set_stack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    set_stack(None, ctypes.byref(before))
    try:
        yield
    finally:
        # With AMX, Linux refuses one that is too small for its registers.
        if set_stack(ctypes.byref(before), None) != 0:
            set_stack(ctypes.byref(_Stack(None, _DISABLED, 0)), None)
