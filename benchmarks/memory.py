"""Resident memory of this process. It imports next to nothing, so that imports can be measured."""

import sys


def memory_mb() -> dict[str, float]:
    """Resident memory now and at its peak, in MB of 10^6 bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            lines = [line.split() for line in file if line.startswith(("VmRSS:", "VmHWM:"))]
    except FileNotFoundError:
        return _without_proc()
    kib = {fields[0]: int(fields[1]) for fields in lines}
    return {"now": kib["VmRSS:"] * 1024 / 1e6, "peak": kib["VmHWM:"] * 1024 / 1e6}


def _without_proc() -> dict[str, float]:
    """Only the peak is known; macOS counts it in bytes, others in KiB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {"now": peak, "peak": peak}
