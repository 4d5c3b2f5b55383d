"""Files of the user: the one way to open them, and what must not be in them (threats.md T26)."""
