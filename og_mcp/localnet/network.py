"""One local network: chains, hub, sign-in and admin in one process.

Each service has an origin of its own, as on the public network, so that a client that mixes two
of them up fails here too. Keys, certificates, passwords and tokens are random in every run.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from eth_keys.datatypes import PrivateKey
from starlette.types import ASGIApp

from og_mcp.localnet import genesis, samples
from og_mcp.localnet.admin import Controls, admin_app
from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faucet import Faucet
from og_mcp.localnet.faults import Faults
from og_mcp.localnet.gateway.fleet import FIRST, Fleet
from og_mcp.localnet.gateway.registry import Registrar
from og_mcp.localnet.gateway.responder import BuiltIn
from og_mcp.localnet.gateway.upstream import Upstream
from og_mcp.localnet.genesis import INFERENCE_CONTRACT, TEE_REGISTRY
from og_mcp.localnet.hub import hub_app, hub_read_app, keep_file
from og_mcp.localnet.lifetime import Lifetime
from og_mcp.localnet.node_api import node_api_app
from og_mcp.localnet.options import Options
from og_mcp.localnet.payments import Payments
from og_mcp.localnet.rpc import rpc_app
from og_mcp.localnet.service import Service
from og_mcp.localnet.serving import FaultGate, LoopbackOnly
from og_mcp.localnet.signin import Account, Accounts, sign_in_app
from og_mcp.localnet.store import Store, write_whole
from og_mcp.localnet.wallet import Wallet

WALLETS: Final = 4
"""Funded accounts on both chains."""

WALLET_OPG: Final = 10_000 * genesis.OPG
"""Each session needs its whole authorization covered, and settles for cents: enough for days."""

BANK_OPG: Final = 10**6 * genesis.OPG


async def run(options: Options, lifetime: Lifetime) -> None:
    """Run a local network until it is time to end.

    Raises:
        PortTakenError: The port that was asked for is not free.
    """
    with lifetime.folder() as temporary, lifetime.listening() as end:
        async with running(options, options.data_dir or temporary) as ready:
            with _announced(ready, options.ready_file):
                await end.wait()


@asynccontextmanager
async def running(options: Options, folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Open every service of a new network; they close with the context.

    Args:
        options: Ports and chain ids.
        folder: Where model files are kept; what is there already is served.

    Yields:
        What the ready file holds (interface.md section 5).
    """
    network = _Network(options, Store(folder))
    try:
        await network.open()
        yield {**network.addresses(), "sample_models": await network.publish_samples()}
    finally:
        await network.close()


class _Network:
    def __init__(self, options: Options, store: Store) -> None:
        self.options = options
        self.store = store
        self.wallets = [_new_key() for _ in range(WALLETS)]
        self.login = _new_login()
        self.accounts = Accounts(firebase_api_key=f"local-{secrets.token_urlsafe(24)}")
        self.accounts.add(self.login)
        bank, facilitator, registrar = _new_key(), _new_key(), _new_key()
        self.chains = self._chains(bank, facilitator, registrar)
        self.faucets = {name: Faucet(chain, bank) for name, chain in self.chains.items()}
        self.payments = self._payments(facilitator)
        self.services = self._services()
        self.llm = Upstream(options.llm_url) if options.llm_url else BuiltIn()
        self.fleet = Fleet(
            self.services,
            Registrar(self.chains["rpc"], Wallet(self.chains["rpc"], registrar)),
            self.llm,
            self.payments,
        )
        controls = Controls(
            self.services, self.chains, self.faucets, self.accounts, self.payments, self.fleet
        )
        self.admin = Service(admin_app(controls), Faults())

    def _chains(
        self, bank: PrivateKey, facilitator: PrivateKey, registrar: PrivateKey
    ) -> dict[str, Chain]:
        addresses = [_address(key) for key in self.wallets]
        reserve = Faucet.account(bank)
        return {
            "rpc": Chain(
                chain_id=self.options.chain_id,
                accounts=addresses,
                models=self.store,
                contracts=(
                    *genesis.opengradient(_address(registrar)),
                    reserve,
                    Wallet.account(registrar),
                ),
            ),
            "base_rpc": Chain(
                chain_id=self.options.base_chain_id,
                accounts=addresses,
                models=self.store,
                contracts=(
                    *genesis.payment(*_opg(addresses, bank)),
                    reserve,
                    Wallet.account(facilitator),
                ),
                l1_wei_a_byte=genesis.L1_WEI_A_BYTE,
            ),
        }

    def _payments(self, facilitator: PrivateKey) -> Payments:
        return Payments(
            self.chains["base_rpc"],
            facilitator=facilitator,
            pay_to=_address(_new_key()),
            payers=[_address(key) for key in self.wallets],
            session_cap=int(self.options.session_opg * genesis.OPG),
            session_deadline_s=self.options.session_deadline_s,
            session_idle_s=self.options.session_idle_s,
        )

    def _services(self) -> dict[str, Service]:
        rpc, base_rpc, node_api = Faults(), Faults(), Faults()
        return {
            "rpc": Service(rpc_app(self.chains["rpc"], rpc), rpc, self.options.port),
            "base_rpc": Service(rpc_app(self.chains["base_rpc"], base_rpc), base_rpc),
            "node_api": Service(node_api_app(self.chains["rpc"], node_api), node_api),
            "hub": _gated("hub", hub_app(self.store, self.accounts)),
            "hub_read": _gated("hub_read", hub_read_app(self.store)),
            "auth": _gated("auth", sign_in_app(self.accounts)),
        }

    async def open(self) -> None:
        for service in (*self.services.values(), self.admin):
            await service.open()
        for service in (*self.services.values(), self.admin):
            await service.probe()
        await self.fleet.register()

    async def close(self) -> None:
        everything = (*self.services.values(), self.admin)
        await asyncio.gather(*(service.close() for service in everything))
        await self.payments.close()
        await self.llm.close()
        for chain in self.chains.values():
            chain.close()

    def addresses(self) -> dict[str, Any]:
        """Return the addresses of all services."""
        url = {name: service.url for name, service in self.services.items()}
        return {
            "rpc_url": url["rpc"],
            "node_api_url": url["node_api"],
            "chain_id": self.options.chain_id,
            "inference_contract": INFERENCE_CONTRACT,
            "tee_registry": TEE_REGISTRY,
            "base_rpc_url": url["base_rpc"],
            "base_chain_id": self.options.base_chain_id,
            "opg_token": genesis.OPG_TOKEN,
            "hub_url": url["hub"],
            "hub_read_url": url["hub_read"],
            "auth_url": f"{url['auth']}/v1/accounts:signInWithPassword",
            "token_url": f"{url['auth']}/v1/token",
            "gateway_url": url[FIRST],
            "admin_url": self.admin.url,
            "accounts": [
                {"address": _address(key), "private_key": key.to_hex()} for key in self.wallets
            ],
            "hub_login": {
                "email": self.login.email,
                "password": self.login.password,
                "firebase_api_key": self.accounts.firebase_api_key,
            },
        }

    async def publish_samples(self) -> list[dict[str, Any]]:
        """Put the sample models where uploads go, and run each once."""
        return [await self._publish(sample) for sample in samples.build()]

    async def _publish(self, sample: samples.Sample) -> dict[str, Any]:
        found = self.store.find(sample.name, self.login.username)
        model = (
            found[0]
            if found
            else self.store.create_model(sample.name, self.login.username, sample.description)
        )
        version = model.versions[0] if model.versions else self.store.create_version(model)
        with self.store.incoming() as file:
            file.write(sample.content)
            record = await keep_file(self.store, version, sample.file_name, file)
        return {
            "name": sample.name,
            "author": self.login.username,
            "version": version.text,
            "cid": record.cid,
            "model_input": sample.model_input,
            "model_output": sample.run(),
        }


def _opg(addresses: Sequence[str], bank: PrivateKey) -> tuple[dict[str, int], dict[str, int]]:
    """Return balances and allowances of OPG at the start.

    The last wallet has approved nothing. The others have approved what they hold and no more:
    og-mcp's own approvals are finite (T6), so an allowance that sinks with each settlement has to
    work, and no wallet runs out of it before it runs out of OPG.
    """
    balances = dict.fromkeys(addresses, WALLET_OPG)
    approvals = dict.fromkeys(addresses[:-1], WALLET_OPG)
    return {**balances, _address(bank): BANK_OPG}, approvals


def _new_key() -> PrivateKey:
    return PrivateKey(secrets.token_bytes(32))


def _address(key: PrivateKey) -> str:
    return str(key.public_key.to_checksum_address())


def _new_login() -> Account:
    return Account(
        email=f"{samples.AUTHOR}@localhost.invalid",
        password=secrets.token_urlsafe(24),
        username=samples.AUTHOR,
    )


def _gated(name: str, app: ASGIApp) -> Service:
    faults = Faults()
    return Service(LoopbackOnly(FaultGate(app, faults=faults, service=name)), faults)


@contextmanager
def _announced(ready: Mapping[str, Any], file: Path | None) -> Iterator[None]:
    text = json.dumps(ready, indent=2)
    if file is None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        yield
        return
    write_whole(file, text)
    sys.stderr.write(
        f"The local network runs: RPC {ready['rpc_url']}, hub {ready['hub_url']}; {file} tells the "
        "rest. Ctrl-C ends it.\n"
    )
    sys.stderr.flush()
    try:
        yield
    finally:
        # The keys in it are worth nothing once the network has ended, and it would mislead.
        file.unlink(missing_ok=True)
