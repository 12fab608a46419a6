"""Becomes another program, which gets SIGTERM when whoever started it is gone.

`lanner.triton.server.server` runs this file as a script, in an interpreter of its own: what a
process with threads runs between fork and exec may block for ever (subprocess, ``preexec_fn``).
Only Linux can do it; elsewhere the program just starts.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); it is kept over execve


def main(parent: str, program: str, *arguments: str) -> None:
    """Replaces this process; `parent` is the process that is waited for."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):  # it went before we asked
            sys.exit(128 + signal.SIGTERM)
    os.umask(0o077)  # nobody else reads what it and its stubs write, shared memory included
    os.execv(program, [program, *arguments])  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
