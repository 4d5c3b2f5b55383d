"""The session: every operation of the client, and the parts that it opens for them."""
