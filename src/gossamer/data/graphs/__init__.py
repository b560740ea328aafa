"""Graphs, one file each."""
