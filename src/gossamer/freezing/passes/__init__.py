"""Rewrites of a graph that is being frozen, one file each."""
