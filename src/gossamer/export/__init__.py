"""Frozen networks for the engines of others."""

from gossamer.export.onnx_file import export_onnx, is_export

__all__ = ["export_onnx", "is_export"]
