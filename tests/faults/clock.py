"""The time of day of processes under test, set while they run."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

STEPS_S = (1, -1, 7_200, -10_800, 3_600)


class SteppedClock:
    """The time of day of all Python processes that are started with its environment; those that run see each
    step. libfaketime would not do: it refuses Python's sleeps, and Ray does not come up under it."""

    def __init__(self, folder: Path) -> None:
        """Builds what they load (`cc` must be there), and sets nothing yet; a clock that is there goes on."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file, library = folder / "clock", folder / "stepped_clock.so"
        if not self._file.exists():
            self._file.write_bytes(struct.pack("q", 0))
        source = Path(__file__).with_name("stepped_clock.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._file)}

    def step(self, seconds: int) -> None:
        """Sets it by so much, back where that is below 0; as the kernel does, at once and for all."""
        with self._file.open("r+b") as file:
            (offset_s,) = struct.unpack("q", file.read())
            file.seek(0)
            file.write(struct.pack("q", offset_s + seconds))
