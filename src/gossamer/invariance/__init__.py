"""Networks whose answer stays the same where an image moves."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.invariance.consistency import shift_consistency
from gossamer.invariance.make import anti_alias, make_shift_invariant
from gossamer.invariance.report import ShiftReport

__all__ = ["ShiftReport", "anti_alias", "make_shift_invariant", "shift_consistency"]
