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
    """A duration in words, to three digits.

    Example:
        >>> duration(12.3e-6), duration(0.0042), duration(0.627), duration(75), duration(1234)
        ('12.3 us', '4.20 ms', '627 ms', '75.0 s', '1234 s')
    """
    for unit, factor in (("us", 1e6), ("ms", 1e3), ("s", 1.0)):
        number = seconds * factor
        if number < 999.5 or unit == "s":
            break
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f} {unit}"


def many(number: int, what: str) -> str:
    """A number of things.

    Example:
        >>> many(1, "thread"), many(2, "thread")
        ('1 thread', '2 threads')
    """
    return f"{number} {what}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """A share of one.

    Example:
        >>> percent(0.98765)
        '98.77 %'
    """
    return f"{100 * share:.2f} %"
