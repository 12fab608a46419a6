"""Script that replaces itself by a program that gets SIGTERM when its parent ends.

`lanner.triton.server.server` runs this file as a script, in an interpreter of its own: in a process
with threads, code between fork and exec may block forever (subprocess, ``preexec_fn``). Only Linux
sends the signal; elsewhere the program just starts.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); execve keeps it


def main(parent: str, program: str, *arguments: str) -> None:
    """Replace this process by the program; it gets SIGTERM when `parent` ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):  # the parent ended before the call
            sys.exit(128 + signal.SIGTERM)
    os.umask(0o077)  # other users must not read files of the server, shared memory included
    os.execv(program, [program, *arguments])  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
