"""An order of neurons and channels that a pattern of zeros suits better: searched, and folded into the neighbours."""
