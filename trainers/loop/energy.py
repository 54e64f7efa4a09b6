"""Joules that this machine has used, where it tells them.

Processors tell by RAPL, as Linux shows it (`/sys/class/powercap`): one counter for each whole package, with
all that runs on it, that begins anew at its largest value. NVIDIA's GPUs tell by NVML, which `nvidia-ml-py`
reads: each GPU whole, whoever else has a part of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from trainers.errors import InputError

POWERCAP = Path("/sys/class/powercap")
OBJECTIVE = "energy_joules"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class EnergyCounter:
    """What packages and GPUs have used since it was made. Each reading notices one new beginning of a
    counter: where nothing else reads for long, a lane's heartbeat does."""

    def __init__(
        self, powercap: Path = POWERCAP, gpus: Callable[[], Mapping[str, float]] | None = None
    ) -> None:
        """Takes the first reading.

        Args:
            powercap: the folder of RAPL's zones.
            gpus: joules that each GPU has used so far, by name; NVML's by default.
        """
        self._zones = _find_packages(powercap)
        self._gpus = gpus or _read_gpus
        self._lock = threading.Lock()
        self._last, self._total = self._read_all(), 0.0

    def joules(self) -> float | None:
        """Since it was made; only ever more. None: this machine tells nothing."""
        with self._lock:
            if not self._last:
                return None
            now = self._read_all()
            for name, value in now.items():
                before = self._last.get(name, value)
                wrapped = self._zones.get(name, 0.0) if value < before else 0.0
                self._total += max(0.0, value - before + wrapped)
            self._last |= now
            return self._total

    def _read_all(self) -> dict[str, float]:
        read = {zone: _read_microjoules(Path(zone) / "energy_uj") for zone in self._zones}
        return {**{zone: value for zone, value in read.items() if value is not None}, **self._gpus()}


def _find_packages(powercap: Path) -> dict[str, float]:
    """Folder of each package that can be read → joules at which its counter begins anew. Parts of a package
    and the platform's own zone, which holds packages, would count twice."""
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            is_package = (zone / "name").read_text().startswith("package")
        except OSError:
            continue
        span = _read_microjoules(zone / "max_energy_range_uj")
        if is_package and span is not None and _read_microjoules(zone / "energy_uj") is not None:
            found[str(zone)] = span
    return found


def _read_microjoules(path: Path) -> float | None:
    try:
        return int(path.read_text()) / 1e6
    except (OSError, ValueError):  # a counter that only root may read, or none
        return None


def _read_gpus() -> dict[str, float]:
    """Of the GPUs that this process may see."""
    nvml = _open_nvml()
    if nvml is None:
        return {}
    read = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = str(nvml.nvmlDeviceGetUUID(handle))
        if _is_visible(index, name):
            try:
                read[name] = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
            except nvml.NVMLError:  # GPUs before Volta have no such counter
                continue
    return read


def _is_visible(index: int, name: str) -> bool:
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        return True
    listed = [entry.strip() for entry in visible.split(",") if entry.strip()]
    return any(entry == str(index) or (not entry.isdigit() and name.startswith(entry)) for entry in listed)


@cache
def _open_nvml() -> Any:  # the module has no types
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver here
        return None
    return pynvml


@cache
def _counter() -> EnergyCounter:
    return EnergyCounter()


def read_energy() -> float | None:
    """Joules since this process first asked; None: this machine tells nothing."""
    return _counter().joules()


def require_energy(metrics: Sequence[str]) -> None:
    """Refuses an objective that this machine cannot tell, before anything is spent on it.

    Raises:
        InputError: the energy is asked for, and neither RAPL nor NVML can be read.
    """
    if OBJECTIVE not in metrics or read_energy() is not None:
        return
    locked = [zone for zone in POWERCAP.glob("intel-rapl:*/energy_uj") if not os.access(zone, os.R_OK)]
    do = (
        "let this user read energy_uj (Linux lets root alone), or choose cpu_seconds or price"
        if locked
        else "choose cpu_seconds or price; GPUs tell where nvidia-ml-py is installed"
    )
    found = f"{POWERCAP} that cannot be read" if locked else f"no counter in {POWERCAP}, and no GPU's"
    must = f"a machine must tell the energy that it uses for the objective {OBJECTIVE}"
    raise InputError(must, found, do, key=("objective", "metric"))
