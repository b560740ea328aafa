"""One file per data set; a new one joins the registry by being here."""
