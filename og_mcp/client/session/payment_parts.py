"""The parts of a session that pay gateways: opened with the first call that needs one."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from og_mcp.client.session.loading import load
from og_mcp.client.session.part import Part
from og_mcp.client.session.parts import Parts
from og_mcp.errors import ServiceError
from og_mcp.networks import Network
from og_mcp.settings import WalletSource
from og_mcp.types import CANCEL_PAYMENT, OPGCaps

if TYPE_CHECKING:
    from og_mcp.client.chain.chain import Chain
    from og_mcp.client.chain.rpc import RPC
    from og_mcp.client.chain.sender import Sender
    from og_mcp.client.chain.wallet import Wallet
    from og_mcp.client.llm.gateway_llm import GatewayLLM
    from og_mcp.client.payments.allowance import Allowance
    from og_mcp.client.payments.cancellation import Cancellations
    from og_mcp.client.payments.caps import Caps
    from og_mcp.client.payments.clock import Clock
    from og_mcp.client.payments.fates import Fates
    from og_mcp.client.payments.opg import OPG
    from og_mcp.client.payments.payer import Payer
    from og_mcp.client.payments.payments import Payments
    from og_mcp.client.payments.purse import Purse
    from og_mcp.client.payments.spent_elsewhere import SpentElsewhere
    from og_mcp.client.session.history import History

PRICE: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")

logger = logging.getLogger(__name__)


class PaymentParts:
    """What speaks to the payment chain and to gateways.

    Args:
        parts: The rest of the session.
        clock: Counts the age of payments; this machine's if not given.
    """

    def __init__(self, parts: Parts, clock: Clock | None = None) -> None:
        self._parts, self._given_clock = parts, clock
        self.clock = Part(self._open_clock)
        self.rpc = Part(self._open_rpc)
        self.chain = Part(self._open_chain)
        self.witness = Part(self._open_witness)
        self.wallet = Part(self._open_wallet)
        self.opg = Part(self._open_opg)
        self.caps = Part(self._open_caps)
        self.elsewhere = Part(self._open_elsewhere)
        self.payer = Part(self._open_payer)
        self.purse = Part(self._open_purse)
        self.payments = Part(self._open_payments)
        self.sender = Part(self._open_sender)
        self.allowance = Part(self._open_allowance)
        self.cancellations = Part(self._open_cancellations)
        self.history = Part(self._open_history)
        self.reconciled = Part(self._reconcile)
        self.llm = Part(self._open_llm)
        self.opg_price_usd: Decimal | None = None
        """What a gateway said last that one OPG is worth."""

    def learn_price(self, answer: Mapping[str, Any]) -> None:
        """Keep what an answer says that one OPG is worth; estimates alone use it."""
        costs = answer.get("opengradient")
        told = costs.get("opg_price_usd") if isinstance(costs, Mapping) else None
        if isinstance(told, str) and PRICE.fullmatch(told) and (price := Decimal(told)):
            self.opg_price_usd = price

    @property
    def limits(self) -> OPGCaps:
        """The operator's caps."""
        settings = self._parts.settings
        return OPGCaps(per_call=settings.max_per_call, per_day=settings.max_per_day)

    async def _open_clock(self) -> Clock:
        if self._given_clock is not None:
            return self._given_clock
        clock: Clock = (await load("payments.clock")).Clock()
        return clock

    async def _open_rpc(self) -> RPC:
        network, http = await self._parts.network.get(), await self._parts.http.get()
        rpc: RPC = (await load("chain.rpc")).RPC(
            http,
            network.base_rpc_url,
            "payment chain's RPC",
            timeout_s=self._parts.timeouts.rpc_s,
        )
        return rpc

    async def _open_chain(self) -> Chain:
        network = await self._parts.network.get()
        chain: Chain = (await load("chain.chain")).Chain(
            await self.rpc.get(), network.base_chain_id, takes_l1_fees=True
        )
        return chain

    async def _open_witness(self) -> Chain | None:
        """Open a second RPC that the operator named; it has to tell the same outcomes (T35)."""
        network, http = await self._parts.network.get(), await self._parts.http.get()
        urls = self._parts.settings.base_rpc_urls
        others = [url for url in urls if url != network.base_rpc_url]
        if not others:
            return None
        rpc = (await load("chain.rpc")).RPC(
            http, others[0], "payment chain's second RPC", timeout_s=self._parts.timeouts.rpc_s
        )
        chain = (await load("chain.chain")).Chain
        witness: Chain = chain(rpc, network.base_chain_id, takes_l1_fees=True)
        return witness

    async def _open_wallet(self) -> Wallet:
        key = self._parts.settings.base_key
        if key is None or self._parts.settings.local:
            # A signature made for a local chain may be good on a real one (threats.md T5).
            return await self._parts.wallet.get()
        wallet: Wallet = (await load("chain.wallet")).Wallet(WalletSource(kind="key", secret=key))
        return wallet

    async def _open_opg(self) -> OPG:
        network = await self._parts.network.get()
        opg: OPG = (await load("payments.opg")).OPG(
            await self.rpc.get(), await self.chain.get(), network
        )
        return opg

    async def _other_fates(self) -> list[Fates]:
        """Return what asks further RPCs of the payment chain."""
        parts, network = self._parts, await self._parts.network.get()
        urls = parts.settings.base_rpc_urls or network.base_rpc_urls
        rpc_of, http = (await load("chain.rpc")).RPC, await parts.http.get()
        ledger_of = (await load("payments.ledger")).Ledger
        fates_of = (await load("payments.fates")).Fates
        return [
            fates_of(
                ledger_of(
                    rpc_of(http, url, "payment chain's RPC", timeout_s=parts.timeouts.rpc_s),
                    network.opg_token,
                ),
                network.settlement_depth,
            )
            for url in dict.fromkeys(urls)
            if url != network.base_rpc_url
        ]

    async def _open_caps(self) -> Caps:
        opg = await self.opg.get()
        account = await opg.account(await (await self.wallet.get()).address())
        journal, tasks = await self._parts.journal.get(), await self._parts.tasks.get()
        caps: Caps = (await load("payments.caps")).Caps(
            journal, opg, await self._other_fates(), account, tasks, await self.clock.get()
        )
        return caps

    async def _open_elsewhere(self) -> SpentElsewhere:
        parts = self._parts
        elsewhere: SpentElsewhere = (await load("payments.spent_elsewhere")).SpentElsewhere(
            await parts.journal.get(),
            (await self.opg.get()).ledger,
            (await self.caps.get()).account,
            await parts.tasks.get(),
            await self.clock.get(),
        )
        elsewhere.look_ahead()
        return elsewhere

    async def _open_payer(self) -> Payer:
        network, wallet = await self._parts.network.get(), await self.wallet.get()
        payer: Payer = (await load("payments.payer")).Payer(await wallet.account(), network)
        return payer

    async def _open_purse(self) -> Purse:
        address = await (await self.wallet.get()).address()
        opg, tasks = await self.opg.get(), await self._parts.tasks.get()
        purse: Purse = (await load("payments.purse")).Purse(opg, address, tasks)
        return purse

    async def _open_payments(self) -> Payments:
        purse = await self.purse.get()
        # Both ask the payment chain, and neither needs the other's answer.
        purse.look_ahead()
        parts, caps = self._parts, await self.caps.get()
        payments: Payments = (await load("payments.payments")).Payments(
            await parts.network.get(),
            await parts.journal.get(),
            await self.elsewhere.get(),
            purse,
            await self.payer.get(),
            caps.account,
            caps,
            limits=self.limits,
            allow_insecure=parts.settings.allow_insecure,
            answer_s=parts.timeouts.gateway_s,
            wait_s=parts.settings.wait_s,
            clock=await self.clock.get(),
        )
        # An earlier process may have left some open.
        caps.watch()
        if not parts.settings.local:
            note = (await load("payments.data_folders")).note_folder
            await to_thread.run_sync(note, caps.account.address, parts.settings.data_dir)
        return payments

    async def _open_sender(self) -> Sender:
        parts = self._parts
        guard = (await load("chain.wallet")).FeeGuard(
            await self._network(),
            parts.settings.max_fee_per_call,
            parts.settings.max_fee_per_day,
            parts.settings.allow_insecure,
        )
        sender: Sender = (await load("chain.sender")).Sender(
            await self.chain.get(),
            await self.wallet.get(),
            guard,
            await parts.journal.get(),
            timeouts=parts.timeouts,
            witness=await self.witness.get(),
        )
        return sender

    async def _open_allowance(self) -> Allowance:
        allowance: Allowance = (await load("payments.allowance")).Allowance(
            await self.opg.get(),
            await self.sender.get(),
            await self.purse.get(),
            await self._parts.journal.get(),
            (await self.caps.get()).account,
        )
        return allowance

    async def _open_cancellations(self) -> Cancellations:
        cancellations: Cancellations = (await load("payments.cancellation")).Cancellations(
            await self.opg.get(),
            await self.sender.get(),
            await self.caps.get(),
            await self._parts.journal.get(),
        )
        return cancellations

    async def _open_history(self) -> History:
        parts = self._parts
        history: History = (await load("session.history")).History(
            parts.settings,
            await self._network(),
            await parts.journal.get(),
            await self.chain.get(),
            await self.sender.get(),
            {
                "approve_opg": await self.allowance.get(),
                CANCEL_PAYMENT: await self.cancellations.get(),
            },
        )
        return history

    async def _reconcile(self) -> bool:
        """Settle what an earlier process left behind, before this one signs its first."""
        try:
            await (await self.history.get()).reconcile()
        except ServiceError as exc:
            logger.warning("interrupted calls were not looked up: %s", exc)
        return True

    async def _network(self) -> Network:
        """Describe the payment chain as the guards and receipts of a chain take it."""
        network = await self._parts.network.get()
        return replace(
            network,
            chain_id=network.base_chain_id,
            rpc_url=network.base_rpc_url,
            explorer_tx_url="",
            faucet_url="",
        )

    async def _open_llm(self) -> GatewayLLM:
        parts = self._parts
        module, registry = await load("llm.gateway_llm"), await parts.registry.get()
        # It is read while the payment chain is asked.
        registry.look_ahead()
        llm: GatewayLLM = module.GatewayLLM(
            registry,
            await parts.gateways.get(),
            await self.payments.get(),
            local=parts.settings.local,
            allow_unsigned=parts.settings.allow_unsigned,
        )
        return llm
