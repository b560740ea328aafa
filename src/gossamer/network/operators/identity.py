"""Nothing: modules and calls that do nothing in evaluation."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, Unsupported, operator, unset


def _off(p: float = 0.5, training: bool = True, inplace: bool = False) -> Settings:  # noqa: ARG001 (as F.dropout)
    """A dropout call that is switched off; one that is on is refused."""
    if training:
        raise Unsupported("dropout that is on in evaluation")
    return Settings()


operator(
    Operator(
        "identity",
        lambda _torch, xs, _s, _t: xs[0],
        lambda xs, _s, _t: xs[0],
        modules=dict.fromkeys(
            (
                "torch.nn.Identity",
                "torch.nn.Dropout",
                "torch.nn.Dropout1d",
                "torch.nn.Dropout2d",
                "torch.nn.Dropout3d",
                "torch.nn.AlphaDropout",
                "torch.nn.FeatureAlphaDropout",
                "gossamer.nn.Dropout",
            ),
            unset,
        ),
        calls={
            "torch.nn.functional.dropout": _off,
            "torch.nn.functional.alpha_dropout": _off,
            ".contiguous": Settings,
            ".clone": Settings,
        },
        dtype=lambda dtypes: dtypes[0],
        lower=lambda _lowering, xs, _s, _t: xs[0],
        elementwise=True,
        onnx=lambda _words, xs, _s, _t: xs[0],
    )
)
