"""Runs a program under a seccomp filter that denies io_uring, as container engines do: EPERM for its three calls."""

import ctypes
import os
import struct
import sys

ERRNO_EPERM, ALLOW = 0x00050001, 0x7FFF0000
CALLS = [425, 426, 427]  # io_uring_setup, _enter, _register: the same on every architecture


def step(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


steps = [step(0x20, 0, 0, 0)]  # load the call's number
steps += [step(0x15, len(CALLS) - n, 0, call) for n, call in enumerate(CALLS)]
steps += [step(0x06, 0, 0, ALLOW), step(0x06, 0, 0, ERRNO_EPERM)]
code = ctypes.create_string_buffer(b"".join(steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
