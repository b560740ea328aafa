"""Numbers as people read them."""

from __future__ import annotations


def size(n_bytes: float) -> str:
    """Bytes in words.

    Example:
        >>> size(900), size(1_234_567)
        ('900 B', '1.2 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    for unit in ("kB", "MB"):
        n_bytes /= 1000
        if n_bytes < 1000:
            return f"{n_bytes:.1f} {unit}"
    return f"{n_bytes / 1000:.1f} GB"


def duration(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> duration(12.3e-6), duration(0.0042), duration(75)
        ('12.3 us', '4.20 ms', '75.0 s')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.1f} s"


def percent(share: float) -> str:
    """A share of one.

    Example:
        >>> percent(0.98765)
        '98.77 %'
    """
    return f"{100 * share:.2f} %"
