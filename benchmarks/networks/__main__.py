"""Prints how large the networks are."""

from __future__ import annotations

import torch

from networks import NETWORKS, example, multiply_adds

for name, network in NETWORKS.items():
    with torch.device("meta"):
        model = network.make().eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    macs = multiply_adds(model, example(name).to("meta"))
    published = f"published {network.parameters:,} and {network.gigamacs} G"
    print(f"{name:20} {parameters:>12,} parameters {macs / 1e9:8.3f} G multiply-adds ({published})")
