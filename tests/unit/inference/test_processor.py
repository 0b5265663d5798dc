"""Name what a processor can do, from the kernel's flags and oneDNN's limit."""

import pytest

from sentiment.inference import processor
from sentiment.inference.processor import describe_processor, find_processor

AVX2_FLAGS = {"avx", "avx2", "fma"}
AVX512_FLAGS = AVX2_FLAGS | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
VNNI_FLAGS = AVX512_FLAGS | {"avx512_vnni"}
AMX_FLAGS = VNNI_FLAGS | {"avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}


@pytest.mark.parametrize(
    ("flags", "limit", "expected", "has_bf16"),
    [
        (AMX_FLAGS, "", "amx", True),
        (AMX_FLAGS, "DEFAULT", "amx", True),
        (AMX_FLAGS, "AVX512_CORE_AMX", "amx", True),
        (AMX_FLAGS, "AVX512_CORE_BF16", "avx512_vnni", True),
        (AMX_FLAGS, "AVX512_CORE_VNNI", "avx512_vnni", False),
        (AMX_FLAGS, "AVX512_CORE", "avx512", False),
        (AMX_FLAGS, "AVX2_VNNI", "avx_vnni", False),
        (AMX_FLAGS, "avx2", "avx2", False),
        (VNNI_FLAGS | {"avx512_bf16"}, "", "avx512_vnni", True),
        (VNNI_FLAGS, "", "avx512_vnni", False),
        (AVX512_FLAGS, "", "avx512", False),
        (AVX512_FLAGS | {"avx_vnni"}, "", "avx512", False),
        (AVX2_FLAGS | {"avx_vnni"}, "", "avx_vnni", False),
        (AVX2_FLAGS, "", "avx2", False),
        ({"sse4_1"}, "", "unknown", False),
        (set(), "", "unknown", False),
    ],
)
def test_x86(flags, limit, expected, has_bf16):
    found = describe_processor(flags, "x86_64", limit)
    assert (found.instruction_set, found.has_bf16) == (expected, has_bf16)


@pytest.mark.parametrize(
    ("flags", "expected", "has_bf16"),
    [
        ({"asimd", "asimddp", "i8mm", "bf16"}, "neon_i8mm", True),
        ({"asimd", "asimddp"}, "neon_dotprod", False),
        ({"asimd"}, "neon", False),
        (set(), "neon", False),
    ],
)
def test_arm(flags, expected, has_bf16):
    found = describe_processor(flags, "aarch64")
    assert (found.instruction_set, found.has_bf16) == (expected, has_bf16)


def test_a_description_shows_the_flags_that_matter():
    assert str(describe_processor({*AVX2_FLAGS, "fpu"}, "x86_64")) == "avx2 (flags: avx avx2 fma)"
    assert str(describe_processor((), "x86_64")) == "unknown (flags: unknown)"


@pytest.mark.parametrize("line", ["flags\t\t: fpu avx avx2 fma", "Features\t: avx2"])
def test_flags_are_the_kernels(tmp_path, monkeypatch, line):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\nflags\t\t: amx_int8\n")
    monkeypatch.setattr(processor, "_CPU_INFO", info)
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert find_processor().instruction_set == "avx2"


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_onednn_reads_two_names_of_its_limit(tmp_path, monkeypatch, name):
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags : {' '.join(AMX_FLAGS)}\n")
    monkeypatch.setattr(processor, "_CPU_INFO", info)
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(name, "AVX2")
    assert find_processor().instruction_set == "avx2"


def test_without_the_kernels_word_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert find_processor().instruction_set == "unknown"
