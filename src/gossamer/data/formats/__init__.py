"""Readers of the file formats that data sets come in; every file is hostile until its sizes have been checked."""

from gossamer.data.formats.base import Arrays, Format, Spec
from gossamer.data.formats.cifar import CifarArchive, CifarBinary
from gossamer.data.formats.idx import Idx, parse_idx, read_idx
from gossamer.data.formats.npz import Npz, read_npz

__all__ = [
    "Arrays",
    "CifarArchive",
    "CifarBinary",
    "Format",
    "Idx",
    "Npz",
    "Spec",
    "parse_idx",
    "read_idx",
    "read_npz",
]
