# SPDX-License-Identifier: Apache-2.0
"""The processors that are emulated, by the names that QEMU gives them."""

from dataclasses import dataclass
from typing import Final

ARM: Final = 0x41
_V8: Final = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_DOT: Final = f"{_V8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Processor:
    """A processor, by QEMU's name; ``part`` is ARM's number of it, None where no program can read it.

    ``found_in`` names devices; ``machine`` is what Linux calls its kind.
    """

    qemu: str
    part: int | None
    features: str
    found_in: str
    machine: str = "aarch64"


# Part numbers: each processor's Technical Reference Manual, MIDR_EL1.
CORTEX_A53: Final = Processor("cortex-a53", 0xD03, _V8, "Coral Dev Board, Raspberry Pi 3 and Zero 2")
CORTEX_A72: Final = Processor("cortex-a72", 0xD08, _V8, "Raspberry Pi 4")
CORTEX_A76: Final = Processor("cortex-a76", 0xD0B, _DOT, "Raspberry Pi 5, phones since 2019")
NEOVERSE_N1: Final = Processor("neoverse-n1", 0xD0C, _DOT, "ARM servers: Graviton 2, Ampere Altra")
CORTEX_A7: Final = Processor(
    "cortex-a7", None, "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt", "32-bit boards", "armv7l"
)
