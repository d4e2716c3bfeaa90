"""Holds one thread of a process still, and lets it go when a line comes in: PTRACE_SEIZE and PTRACE_INTERRUPT stop that
thread and no other, which a signal cannot."""

import ctypes
import os
import sys

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int):
    assert libc.ptrace(request, thread, None, None) == 0, f"ptrace: {os.strerror(ctypes.get_errno())}"


ptrace(SEIZE)
ptrace(INTERRUPT)
os.waitpid(thread, 0x40000000)  # __WALL: a thread that is no child of ours
print("held", flush=True)
sys.stdin.readline()
ptrace(DETACH)
print("let go", flush=True)
