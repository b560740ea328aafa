"""A network as data: its graph, its operators, its file, and what runs it."""
