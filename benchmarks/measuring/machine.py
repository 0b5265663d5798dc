"""Describe the machine: processor, instruction sets and restrictions of them."""

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# Names of /proc/cpuinfo, for x86-64 and aarch64.
INSTRUCTION_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
# The first one that a machine has is part of its name, because it determines the speed of int8 products.
_NAMING_SETS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")
# Environment variables that keep libraries from using instruction sets. ONNX Runtime reads none of them.
RESTRICTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
_PACKAGES = (
    *("sentiment", "torch", "transformers", "tokenizers", "openvino", "onnxruntime", "pyspark", "mlflow"),
    *("fastapi", "uvicorn", "uvloop", "litserve"),
)


@dataclass(frozen=True)
class Machine:
    """Describe a machine; `restrictions` are the `RESTRICTIONS` that are set, with their values.

    `generation` is family and model of an x86 processor, because clouds hide its name ("AMD EPYC").
    """

    processor: str
    cores: int
    instruction_sets: tuple[str, ...]
    restrictions: Mapping[str, str]
    generation: str = ""

    @property
    def name(self) -> str:
        """Return a name of this kind of machine for file names; it never contains the host name."""
        model = re.sub(
            r"\((R|TM)\)|@.*|\d+-Core|\b(CPU|Processor)\b", " ", self.processor, flags=re.IGNORECASE
        )
        best = [name for name in _NAMING_SETS if name in self.instruction_sets][:1]
        name = "-".join(filter(None, [_slug(model), self.generation, *best]))
        if self.restrictions:
            name += "-restricted-to-" + "-".join(dict.fromkeys(map(_slug, self.restrictions.values())))
        return name

    def describe(self) -> str:
        """Return one line with processor, cores, instruction sets and all restrictions."""
        sets = ", ".join(self.instruction_sets) or "none of those that matter"
        family, _, model = self.generation.partition("-")
        which = f" (family {family}, model {model})" if self.generation else ""
        line = f"{self.cores} cores of {self.processor}{which}; instruction sets: {sets}"
        if self.restrictions:
            limits = ", ".join(f"to {value} by {name}" for name, value in self.restrictions.items())
            line += f"; RESTRICTED {limits} (ONNX Runtime reads no such variable and uses all of them)"
        return line


def read_machine(
    cores: int, cpuinfo: str | None = None, environment: Mapping[str, str] = os.environ
) -> Machine:
    """Describe this machine; a benchmark uses `cores` of its cores."""
    lines = (Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo).splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    arm = f"{platform.machine()} {fields.get('CPU implementer', '')} {fields.get('CPU part', '')}".strip()
    numbers = [fields[key] for key in ("cpu family", "model") if key in fields]
    return Machine(
        processor=fields.get("model name", arm),
        cores=cores,
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        restrictions={name: environment[name] for name in RESTRICTIONS if environment.get(name)},
        generation="-".join(numbers) if len(numbers) == 2 else "",
    )


def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    versions = {"Python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package).partition("+")[0]
    return versions


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")
