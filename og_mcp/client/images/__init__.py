"""Images that gateways draw: found in the answer, fetched, kept, and made small."""
