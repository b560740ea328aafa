"""Recorded trainings: what is asked for, the training itself, and the files of a run folder."""
