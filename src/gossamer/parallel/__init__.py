"""Training with several processes over torch.distributed: in step (DDP, WASSP-SGD) or asynchronously (WASAP-SGD)."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.parallel.averaging import average, thinned
from gossamer.parallel.data_parallel import data_parallel
from gossamer.parallel.group import Group, connect
from gossamer.parallel.rates import scaled_rate
from gossamer.parallel.server import Server, check_wasap
from gossamer.parallel.worker import Worker

__all__ = [
    "Group",
    "Server",
    "Worker",
    "average",
    "check_wasap",
    "connect",
    "data_parallel",
    "scaled_rate",
    "thinned",
]
