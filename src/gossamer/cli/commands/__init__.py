"""One file per command; each is found by being here."""
