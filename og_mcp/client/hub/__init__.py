"""The Model Hub: sign-in, search, publishing, and what models take."""
