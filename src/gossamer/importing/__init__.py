"""Files of other libraries: read without running anything, and turned into ours."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.importing.converting import Converted, convert, frozen_of
from gossamer.importing.network import Network
from gossamer.importing.reading import Found, read
from gossamer.importing.weights import Weights

__all__ = ["Converted", "Found", "Network", "Weights", "convert", "frozen_of", "read"]
