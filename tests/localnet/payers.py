"""Clients that pay by the x402 package, and what the payment chain says of them."""

from __future__ import annotations

from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from x402 import x402Client
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.mechanisms.evm.upto.client import UptoEvmScheme
from x402.schemas import PaymentPayload, PaymentRequired

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import OPG_TOKEN
from og_mcp.networks import PERMIT2
from tests.localnet.calls import raw_address

NOBODY = raw_address("0x" + "77" * 20)


async def sign_payment(wallet: LocalAccount, asked: PaymentRequired) -> PaymentPayload:
    """Sign for what a challenge asks, whatever it is: only the scheme `upto` is known."""
    client = x402Client()
    client.register(asked.accepts[0].network, UptoEvmScheme(EthAccountSigner(wallet)))
    # None of the package's own limits: they refuse every asset that it does not list.
    client.set_spend_controls({"max_amount_per_payment": False, "allowed_assets": True})
    payload = await client.create_payment_payload(asked)
    assert isinstance(payload, PaymentPayload)
    return payload


async def signature_header(wallet: LocalAccount, challenge: str) -> str:
    """Answer a PAYMENT-REQUIRED header by a PAYMENT-SIGNATURE header."""
    asked = decode_payment_required_header(challenge)
    assert isinstance(asked, PaymentRequired)
    return encode_payment_signature_header(await sign_payment(wallet, asked))


def opg_of(chain: Chain, address: str) -> int:
    """Read a balance in base units."""
    return _read(chain, "balanceOf(address)", ["address"], address)


def allowance_of(chain: Chain, owner: str) -> int:
    """Read what Permit2 may still move, in base units."""
    return _read(chain, "allowance(address,address)", ["address", "address"], owner, PERMIT2)


def _read(chain: Chain, function: str, kinds: list[str], *values: str) -> int:
    data = keccak(text=function)[:4] + encode(kinds, values)
    answer = chain.call(Call(sender=NOBODY, to=raw_address(OPG_TOKEN), gas=10**6, data=data))
    return int(decode(["uint256"], answer)[0])
