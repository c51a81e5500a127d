"""Where figures were measured is said with them."""

from __future__ import annotations

import pytest

from umekomi.environment import hardware, processor

INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor @ 2.10GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor @ 2.10GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (INTEL, "Intel(R) Xeon(R) Processor @ 2.10GHz (AVX2, AVX-512, VNNI, BF16, AMX)"),
        (ARM, "(NEON, dot products)"),
        ("", ""),
    ],
)
def test_a_processor_is_told_with_its_vector_instructions(tmp_path, told, said):
    (tmp_path / "cpuinfo").write_text(told)
    assert processor(tmp_path / "cpuinfo").endswith(said) and processor(tmp_path / "cpuinfo")
    assert processor(tmp_path / "none")


def test_cores_stand_behind_the_processor():
    assert hardware().startswith(processor()) and " cores" in hardware()
