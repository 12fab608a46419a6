"""Instruction sets of the processor, asked from the processor itself by CPUID.

/proc/cpuinfo describes the machine. Under an emulator (``qemu-x86_64 -cpu Haswell``) the machine
has instructions that this process cannot use; the engines ask CPUID and do not use them.
"""

import ctypes
import mmap
import platform
from typing import NamedTuple


class _Bit(NamedTuple):
    """The CPUID bit of an instruction set."""

    leaf: int
    subleaf: int
    register: int
    bit: int


_EAX, _EBX, _ECX, _EDX = range(4)
#: Flags of /proc/cpuinfo -> their CPUID bits (Intel, "Software Developer's Manual", volume 2).
_BITS = {
    "avx2": _Bit(7, 0, _EBX, 5),
    "avx512f": _Bit(7, 0, _EBX, 16),
    "avx512_vnni": _Bit(7, 0, _ECX, 11),
    "amx_bf16": _Bit(7, 0, _EDX, 22),
    "amx_int8": _Bit(7, 0, _EDX, 25),
    "avx_vnni": _Bit(7, 1, _EAX, 4),
    "avx512_bf16": _Bit(7, 1, _EAX, 5),
}
#: void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]), by the System V convention.
_CODE = bytes.fromhex(
    "53"  # push rbx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "4989d0"  # mov r8, rdx
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8 + 4], ebx
    "41894808"  # mov [r8 + 8], ecx
    "4189500c"  # mov [r8 + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)


def missing_flags() -> frozenset[str]:
    """Return the flags that this process lacks, whatever /proc/cpuinfo says.

    The set is empty on processors other than x86-64, and where memory cannot be made executable.
    """
    if platform.machine() != "x86_64":
        return frozenset()
    try:
        memory = mmap.mmap(-1, len(_CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, AttributeError):
        return frozenset()
    with memory:
        memory.write(_CODE)
        address = ctypes.addressof(anchor := ctypes.c_char.from_buffer(memory))
        call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)

        def registers(leaf: int, subleaf: int) -> list[int]:
            found = (ctypes.c_uint32 * 4)()
            call(leaf, subleaf, ctypes.addressof(found))
            return list(found)

        highest = registers(0, 0)[_EAX], registers(7, 0)[_EAX]
        missing = {
            flag
            for flag, (leaf, subleaf, register, bit) in _BITS.items()
            if leaf > highest[0]
            or subleaf > highest[1]
            or not registers(leaf, subleaf)[register] >> bit & 1
        }
        del anchor
    return frozenset(missing)
