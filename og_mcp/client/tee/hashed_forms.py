"""What a TEE may have hashed of one request, and each hash: made when first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from eth_utils.crypto import keccak

from og_mcp.client.tee.canonical_request import Covered
from og_mcp.errors import OGError

UNREADABLE = (
    *(OGError, ArithmeticError, AttributeError, LookupError),
    *(RecursionError, TypeError, ValueError),
)
"""Errors that reading JSON of any form can raise."""


class HashedForms:
    """The forms of a request, the newest gateways' first, each with its keccak256.

    Args:
        forms: Begins to make them; see `canonical_request`.
    """

    def __init__(self, forms: Callable[[], Iterator[Covered]]) -> None:
        self._forms = forms
        self._rest: Iterator[Covered] | None = None
        self._made: list[tuple[Covered, bytes]] = []

    def __iter__(self) -> Iterator[tuple[Covered, bytes]]:
        """Give those that were made, then make the others.

        Raises:
            InputError: It is a request whose hash cannot be known.
        """
        yield from tuple(self._made)
        if self._rest is None:
            self._rest = self._forms()
        for form in self._rest:
            self._made.append((form, keccak(form.text)))
            yield self._made[-1]

    def prepare(self) -> None:
        """Make the first form ahead, e.g. while the answer is awaited; an error shows later."""
        self.first()

    def first(self) -> Covered:
        """Return the newest gateways' form; an empty one where there is none."""
        try:
            found = next(iter(self), None)
        except UNREADABLE:
            # Begun anew, it says so again to whoever has to know.
            self._rest = found = None
        return found[0] if found else Covered(b"", (), ())
