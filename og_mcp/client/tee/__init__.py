"""TEEs: the registry that names them, connections to them, and what their answers prove."""
