"""How large settings may be: beyond these a step of training leaves float32 and ends in an error of torch."""

from __future__ import annotations

LARGEST_RATE = 1e30  # Adam divides the learning rate by numbers below 1
LARGEST_DECAY = 1e6  # AdamW multiplies the decay by the rate
LARGEST_SLOPE = 1e30  # dropout behind a leaky ReLU divides its slope by the share it keeps
LARGEST_WEIGHT = 1e30  # of one term in a score: float32 has to hold its product with a gradient
