"""Find the vector instructions that this processor offers for matrix products."""

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

AMX = "amx"
AVX512_VNNI = "avx512_vnni"
AVX_VNNI = "avx_vnni"
AVX512 = "avx512"
AVX2 = "avx2"
NEON_I8MM = "neon_i8mm"
NEON_DOTPROD = "neon_dotprod"
NEON = "neon"
UNKNOWN = "unknown"
INSTRUCTION_SETS = (AMX, AVX512_VNNI, AVX_VNNI, AVX512, AVX2, NEON_I8MM, NEON_DOTPROD, NEON, UNKNOWN)

# Without VNNI, oneDNN multiplies int8 by an instruction (vpmaddubsw) that adds two products in 16 bits. Large
# sums do not fit and are cut off, without an error. Unknown x86 processors may do the same.
SATURATING = frozenset({AVX512, AVX2, UNKNOWN})

# Environment variables that limit oneDNN's choice of instructions; oneDNN reads the newer name first.
ISA_LIMIT_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

_CPU_INFO = Path("/proc/cpuinfo")
_AVX512_FLAGS = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_SHOWN_FLAGS = (
    *("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve"),
)


@dataclass(frozen=True)
class Processor:
    """Describe a processor.

    `instruction_set` is the best one of `INSTRUCTION_SETS` that oneDNN would use, `flags` are the relevant
    CPU flags of the kernel, and `has_bf16` means that bfloat16 products are native.
    """

    instruction_set: str
    flags: tuple[str, ...]
    has_bf16: bool

    def __str__(self) -> str:
        return f"{self.instruction_set} (flags: {' '.join(self.flags) or 'unknown'})"


def find_processor() -> Processor:
    """Describe the processor of this machine, within the limit set by `ISA_LIMIT_VARIABLES`."""
    limits = (os.environ[name] for name in ISA_LIMIT_VARIABLES if name in os.environ)
    return describe_processor(_read_flags(), platform.machine(), next(limits, ""))


def describe_processor(flags: Collection[str], machine: str, isa_limit: str = "") -> Processor:
    """Describe a processor with these kernel flags; `machine` is a value of `platform.machine()`."""
    shown = tuple(flag for flag in _SHOWN_FLAGS if flag in flags)
    if machine in ("aarch64", "arm64"):
        best = NEON_I8MM if "i8mm" in flags else NEON_DOTPROD if "asimddp" in flags else NEON
        return Processor(best, shown, "bf16" in flags)
    allowed = [
        name
        for name in _list_x86_sets(flags, isa_limit.upper().startswith("AVX2"))
        if name not in _forbidden_sets(isa_limit)
    ]
    best = allowed[0] if allowed else UNKNOWN
    is_limited = any(word in isa_limit.upper() for word in ("AVX2", "CORE_VNNI", "SSE"))
    has_bf16 = "amx_bf16" in flags or "avx512_bf16" in flags
    return Processor(best, shown, has_bf16 and best in (AMX, AVX512_VNNI) and not is_limited)


def _list_x86_sets(flags: Collection[str], allows_only_avx2: bool) -> list[str]:
    """Return the instruction sets that an x86 processor offers, the best first."""
    has_avx512 = set(flags).issuperset(_AVX512_FLAGS)
    offered = {
        AMX: has_avx512 and "amx_int8" in flags and "amx_tile" in flags,
        AVX512_VNNI: has_avx512 and "avx512_vnni" in flags,
        # oneDNN does not use AVX-VNNI where it may use AVX-512.
        AVX_VNNI: "avx_vnni" in flags and (not has_avx512 or allows_only_avx2),
        AVX512: has_avx512,
        AVX2: "avx2" in flags,
    }
    return [name for name, is_offered in offered.items() if is_offered]


def _forbidden_sets(isa_limit: str) -> frozenset[str]:
    """Return the instruction sets that this value of ONEDNN_MAX_CPU_ISA forbids."""
    limit = isa_limit.upper()
    if limit.startswith("AVX2_VNNI"):
        return frozenset({AMX, AVX512_VNNI, AVX512})
    if limit in ("SSE41", "AVX", "AVX2"):
        return frozenset({AMX, AVX512_VNNI, AVX512, AVX_VNNI})
    if limit == "AVX512_CORE":
        return frozenset({AMX, AVX512_VNNI, AVX_VNNI})
    if limit and "AMX" not in limit and limit not in ("ALL", "DEFAULT"):
        return frozenset({AMX})
    return frozenset()


def _read_flags() -> frozenset[str]:
    """Return the kernel's flags of the first processor; empty if /proc/cpuinfo cannot be read."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
