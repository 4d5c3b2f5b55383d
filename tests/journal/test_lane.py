"""The lane: nonces, caps, and one process at a time in it."""

from __future__ import annotations

import anyio
import pytest

from og_mcp.calls import Journal, Lane
from og_mcp.errors import BudgetExceededError, CallStateError, FeeCapError, LaneLostError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Account, Call, FeeCaps, Stage
from tests.journal.steps import (
    ACCOUNT,
    CAPS,
    FEE,
    give_back,
    new_hash,
    opened,
    reserve,
    settled_call,
    sign,
    signed_call,
    taken_over,
)

OTHER = Account(network="local:0xdef", chain_id=7, address=ACCOUNT.address)
"""The same wallet on another local network."""


async def test_a_new_lane_asks_the_chain(journal: Journal) -> None:
    async with journal.lane(ACCOUNT) as lane:
        assert (lane.next_nonce, lane.open, lane.account) == (None, (), ACCOUNT)


async def test_nonces_follow_each_other_across_journals(
    journal: Journal, settings: Settings
) -> None:
    call = await signed_call(journal)

    async with open_journal(settings) as other, other.lane(ACCOUNT) as lane:
        assert lane.next_nonce == 1
        [open_] = lane.open

    assert (open_.call_id, open_.nonce, open_.max_fee_wei) == (call.id, 0, FEE)
    assert len(open_.transaction_hashes) == 1


async def test_lanes_of_other_networks_are_other_lanes(journal: Journal) -> None:
    await signed_call(journal)

    async with journal.lane(OTHER) as lane:
        assert (lane.next_nonce, lane.open) == (None, ())


async def test_letters_of_the_checksum_make_no_other_lane(journal: Journal) -> None:
    await signed_call(journal)
    lower = Account(network=ACCOUNT.network, chain_id=7, address=ACCOUNT.address.lower())

    async with journal.lane(lower) as lane:
        assert lane.next_nonce == 1


async def test_a_signature_is_on_record_with_its_bytes(journal: Journal) -> None:
    call = await opened(journal)
    transaction_hash = await sign(journal, call)

    found = await journal.get(call.id, "local")
    [transaction] = await journal.transactions(call.id)
    assert (found.stage, found.nonce) == (Stage.SENT_UNKNOWN, 0)
    assert found.transaction_hashes == (transaction_hash,)
    assert (transaction.transaction_hash, transaction.raw_transaction) == (
        transaction_hash,
        "0x02f8",
    )


async def test_nothing_is_signed_that_was_not_reserved(journal: Journal) -> None:
    call = await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 0, FEE, CAPS)
        for nonce, fee in ((1, FEE), (0, FEE + 1)):
            with pytest.raises(CallStateError, match="not reserved"):
                await lane.signed(call.id, nonce, new_hash(), "0x", fee)


async def test_what_was_reserved_and_not_signed_ends_with_the_lane(journal: Journal) -> None:
    call = await opened(journal)
    await reserve(journal, call)

    async with journal.lane(ACCOUNT) as lane:
        assert lane.next_nonce is None
        with pytest.raises(CallStateError, match="not reserved"):
            await lane.signed(call.id, 0, new_hash(), "0x", FEE)

    assert (await journal.budget(ACCOUNT, CAPS)).open == 0


async def test_a_reservation_ends_with_the_next_one(journal: Journal) -> None:
    first, second = await opened(journal), await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(first.id, 0, FEE, CAPS)
        await lane.reserve(second.id, 0, FEE, CAPS)
        with pytest.raises(CallStateError, match="not reserved"):
            await lane.signed(first.id, 0, new_hash(), "0x", FEE)
        await lane.signed(second.id, 0, new_hash(), "0x", FEE)

    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE


async def test_a_second_signature_in_one_turn_passes_the_caps_with_the_first(
    journal: Journal,
) -> None:
    """T1."""
    caps = FeeCaps(per_call=100, per_day=100)
    first, second = await opened(journal), await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(first.id, 0, 60, caps)
        await lane.signed(first.id, 0, new_hash(), "0x", 60)
        with pytest.raises(BudgetExceededError):
            await lane.reserve(second.id, 1, 41, caps)
        await lane.reserve(second.id, 1, 40, caps)
        await lane.signed(second.id, 1, new_hash(), "0x", 40)

    assert (await journal.budget(ACCOUNT, caps)).open == 100


async def test_giving_back_forgets_the_next_nonce(journal: Journal) -> None:
    call = await opened(journal)
    transaction_hash = await sign(journal, call)

    async with journal.lane(ACCOUNT) as lane:
        await lane.give_back(call.id, transaction_hash)
        await lane.give_back(call.id, transaction_hash)
        assert lane.next_nonce is None

    found = await journal.get(call.id, "local")
    assert (found.stage, found.nonce, found.status) == (Stage.NOT_SENT, None, "running")
    assert found.transaction_hashes == () == await journal.transactions(call.id)
    assert (await journal.budget(ACCOUNT, CAPS)).open == 0


async def test_a_call_that_was_given_back_can_sign_again(journal: Journal) -> None:
    call = await signed_call(journal)
    await give_back(journal, call)

    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 9, FEE, CAPS)
        await lane.signed(call.id, 9, new_hash(), "0x", FEE)
        assert lane.next_nonce == 10

    assert len((await journal.get(call.id, "local")).transaction_hashes) == 1


async def test_giving_a_replacement_back_keeps_what_was_signed_before(journal: Journal) -> None:
    call = await opened(journal)
    first = await sign(journal, call)
    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 0, 2 * FEE, CAPS)
        await lane.signed(call.id, 0, "0xsecond", "0x02", 2 * FEE)
        await lane.give_back(call.id, "0xsecond")

    found = await journal.get(call.id, "local")
    assert (found.stage, found.nonce) == (Stage.SENT_UNKNOWN, 0)
    assert found.transaction_hashes == (first,)
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE


async def test_what_is_settled_is_not_given_back(journal: Journal) -> None:
    call = await settled_call(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(CallStateError, match="settled"):
            await lane.give_back(call.id)


async def test_a_replacement_keeps_both_hashes_and_the_larger_fee(journal: Journal) -> None:
    """T11."""
    call = await signed_call(journal)
    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 0, 2 * FEE, CAPS)
        await lane.signed(call.id, 0, "0xsecond", "0x02", 2 * FEE)
        assert lane.next_nonce == 1

    found = await journal.get(call.id, "local")
    assert found.transaction_hashes[1] == "0xsecond"
    assert len(await journal.transactions(call.id)) == 2
    assert (await journal.budget(ACCOUNT, CAPS)).open == 2 * FEE


async def test_a_cheaper_replacement_leaves_the_larger_fee_open(journal: Journal) -> None:
    call = await signed_call(journal)
    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 0, 1, CAPS)
        await lane.signed(call.id, 0, new_hash(), "0x", 1)

    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE


async def test_another_process_may_replace_what_this_one_signed(
    journal: Journal, settings: Settings
) -> None:
    call = await signed_call(journal)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "stuck")

    async with open_journal(settings) as other, other.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, 0, 2 * FEE, CAPS)
        await lane.signed(call.id, 0, new_hash(), "0x", 2 * FEE)


async def test_a_replacement_passes_the_caps_too(journal: Journal) -> None:
    """T1."""
    call = await signed_call(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(FeeCapError):
            await lane.reserve(call.id, 0, CAPS.per_call + 1, CAPS)


async def test_one_nonce_is_not_signed_for_two_calls(journal: Journal) -> None:
    await signed_call(journal)
    call = await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(CallStateError, match="nonce 0 is"):
            await lane.reserve(call.id, 0, FEE, CAPS)


async def test_t31_one_call_is_not_signed_under_two_nonces(journal: Journal) -> None:
    call = await signed_call(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(CallStateError, match="nonce 0 is"):
            await lane.reserve(call.id, 1, FEE, CAPS)


# A nonce that changes hands (T31)


async def _signed(lane: Lane, call: Call, nonce: int, *, supersedes: str = "") -> None:
    await lane.reserve(call.id, nonce, FEE, CAPS, supersedes=supersedes)
    await lane.signed(call.id, nonce, new_hash(), "0x", FEE)


async def test_t31_a_nonce_that_is_taken_over_counts_once_with_its_largest_fee(
    journal: Journal,
) -> None:
    older = await signed_call(journal)
    await journal.fail(older.id, Stage.SENT_UNKNOWN, "refused")
    newer = await taken_over(journal, older, fee=FEE - 1)

    found = await journal.get(older.id, "local")
    assert (found.fee_state, found.superseded_by, found.nonce) == ("superseded", newer.id, 0)
    assert (newer.fee_state, newer.nonce, newer.max_fee_wei) == ("open", 0, FEE)
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE
    for call in (older, newer):
        under = await journal.transactions_under(call.id)
        assert [one.call_id for one in under] == [older.id, newer.id]
    async with journal.lane(ACCOUNT) as lane:
        assert [(one.call_id, one.nonce) for one in lane.open] == [(newer.id, 0)]
        assert lane.next_nonce == 1


@pytest.mark.parametrize("mined", [0, 1, 2])
async def test_t31_whichever_is_mined_ends_all_that_share_its_nonce(
    journal: Journal, mined: int
) -> None:
    calls = [await signed_call(journal)]
    for _ in range(2):
        await journal.fail(calls[-1].id, Stage.SENT_UNKNOWN, "refused")
        calls.append(await taken_over(journal, calls[-1], fee=FEE + len(calls)))
    behind = await signed_call(journal)

    await journal.settle(calls[mined].id, Stage.CHARGED, 7, "{}")

    found = [await journal.get(call.id, "local") for call in calls]
    states = [call.fee_state for call in found]
    assert states == ["paid" if place == mined else "ended" for place in range(3)]
    others = [call for place, call in enumerate(found) if place != mined]
    assert all(call.status == "failed" and "without effect" in call.error for call in others)
    budget = await journal.budget(ACCOUNT, CAPS)
    assert (budget.spent, budget.open) == (7, FEE)
    assert (await journal.get(behind.id, "local")).fee_state == "open"


async def test_t31_a_call_whose_nonce_was_taken_over_is_never_signed_again(
    journal: Journal,
) -> None:
    older = await signed_call(journal)
    newer = await taken_over(journal, older)

    async with journal.lane(ACCOUNT) as lane:
        for nonce in (0, 1):
            with pytest.raises(CallStateError):
                await _signed(lane, older, nonce, supersedes=newer.id)


async def test_t31_a_take_over_of_which_nothing_left_gives_the_nonce_back(
    journal: Journal,
) -> None:
    first = await signed_call(journal)
    second = await taken_over(journal, first)
    third = await taken_over(journal, second)

    await give_back(journal, third)

    found = [await journal.get(call.id, "local") for call in (first, second, third)]
    assert [call.fee_state for call in found] == ["superseded", "open", "none"]
    assert found[0].superseded_by == second.id
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE


async def test_t31_a_nonce_whose_call_was_mined_meanwhile_is_not_taken_over(
    journal: Journal,
) -> None:
    older, newer = await signed_call(journal), await opened(journal)
    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(newer.id, 0, FEE, CAPS, supersedes=older.id)
        await journal.settle(older.id, Stage.CHARGED, 1, "{}")
        with pytest.raises(CallStateError, match="does not hold nonce 0 any more"):
            await lane.signed(newer.id, 0, new_hash(), "0x", FEE)

    assert await journal.transactions(newer.id) == ()
    assert (await journal.get(newer.id, "local")).stage is Stage.NOT_SENT


async def test_t31_a_released_call_counts_for_a_day_and_is_never_signed_again(
    journal: Journal,
) -> None:
    older = await signed_call(journal)
    newer = await taken_over(journal, older, fee=FEE + 1)

    async with journal.lane(ACCOUNT) as lane:
        await lane.release(newer.id, "it ended without effect")
        with pytest.raises(CallStateError):
            await lane.release(older.id, "again")

    found = [await journal.get(call.id, "local") for call in (older, newer)]
    assert [(call.fee_state, call.status) for call in found] == [
        ("ended", "failed"),
        ("released", "failed"),
    ]
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE + 1
    async with journal.lane(ACCOUNT) as lane:
        assert (lane.open, lane.next_nonce) == ((), None)
        for call in found:
            with pytest.raises(CallStateError):
                await _signed(lane, call, 0)
    # Whoever signs under the nonce now adds to the budget what is above it, and nothing else.
    await sign(journal, await opened(journal), fee=FEE + 3)
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE + 3


@pytest.mark.parametrize("state", ["released", "ended"])
async def test_t31_what_was_given_up_and_is_mined_after_all_is_charged(
    journal: Journal, state: str
) -> None:
    older = await signed_call(journal)
    newer = await taken_over(journal, older)
    async with journal.lane(ACCOUNT) as lane:
        await lane.release(newer.id, "it ended without effect")
    call = newer if state == "released" else older

    await journal.settle(call.id, Stage.CHARGED, 5, '{"y": 1}')

    found = await journal.get(call.id, "local")
    assert (found.status, found.fee_state, found.fee_wei) == ("done", "paid", 5)
    assert (await journal.budget(ACCOUNT, CAPS)).spent == 5


async def test_an_ended_call_signs_nothing(journal: Journal) -> None:
    call = await settled_call(journal)

    with pytest.raises(CallStateError, match="it is done at charged"):
        await sign(journal, call)

    assert len(await journal.transactions(call.id)) == 1
    async with journal.lane(ACCOUNT) as lane:
        assert (lane.next_nonce, lane.open) == (1, ())


async def test_a_lane_that_was_left_takes_no_step(journal: Journal) -> None:
    call = await opened(journal)
    async with journal.lane(ACCOUNT) as lane:
        pass

    with pytest.raises(RuntimeError):
        await lane.reserve(call.id, 0, FEE, CAPS)


async def test_the_cap_of_a_call_holds_to_one_wei(journal: Journal) -> None:
    """T1."""
    call = await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(FeeCapError) as caught:
            await lane.reserve(call.id, 0, CAPS.per_call + 1, CAPS)
        await lane.reserve(call.id, 0, CAPS.per_call, CAPS)

    assert (caught.value.fee, caught.value.cap) == (CAPS.per_call + 1, CAPS.per_call)


async def test_the_cap_of_a_day_counts_what_is_spent_and_what_is_open(journal: Journal) -> None:
    """T1."""
    caps = FeeCaps(per_call=100, per_day=100)
    await settled_call(journal, fee=30)
    await sign(journal, await opened(journal), fee=50, caps=caps)
    call = await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(BudgetExceededError) as caught:
            await lane.reserve(call.id, 2, 21, caps)
        await lane.reserve(call.id, 2, 20, caps)
        await lane.signed(call.id, 2, new_hash(), "0x", 20)

    error = caught.value
    assert (error.cap, error.spent, error.open, error.asked) == (100, 30, 50, 21)
    assert error.variable == "OG_MAX_FEE_PER_DAY"
    budget = await journal.budget(ACCOUNT, caps)
    assert (budget.spent, budget.open, budget.left) == (30, 70, 0)


async def test_what_the_chain_shows_and_the_journal_does_not_know_counts_on_top(
    journal: Journal,
) -> None:
    """T6."""
    caps = FeeCaps(per_call=100, per_day=100, unrecorded=60)
    await settled_call(journal, fee=30)
    call = await opened(journal)

    async with journal.lane(ACCOUNT) as lane:
        with pytest.raises(BudgetExceededError) as caught:
            await lane.reserve(call.id, 0, 11, caps)
        await lane.reserve(call.id, 0, 10, caps)
    budget = await journal.budget(ACCOUNT, caps)
    assert caught.value.spent == 90
    assert (budget.spent, budget.open, budget.left) == (90, 0, 10)


async def test_caps_hold_among_a_hundred_calls_of_two_journals(
    journal: Journal, settings: Settings
) -> None:
    """T1: together they exceed the cap; what is reserved and spent never does, by one wei."""
    caps = FeeCaps(per_call=7, per_day=100)
    refused = 0

    async def one(through: Journal) -> None:
        nonlocal refused
        call = await opened(through)
        try:
            await sign(through, call, fee=7, caps=caps)
        except BudgetExceededError:
            refused += 1
            await through.fail(call.id, Stage.NOT_SENT, "cap")
        else:
            await through.settle(call.id, Stage.CHARGED, 7, "{}")

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one, journal)
            group.start_soon(one, other)

    budget = await journal.budget(ACCOUNT, caps)
    assert (budget.spent, budget.open) == (98, 0)
    assert refused == 100 - 98 // 7


async def test_no_nonce_is_used_twice_and_none_is_left_out(
    journal: Journal, settings: Settings
) -> None:
    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for through in (journal, other) * 20:
            group.start_soon(signed_call, through)

    async with journal.lane(ACCOUNT) as lane:
        assert [open_.nonce for open_ in lane.open] == list(range(40))


async def test_only_one_journal_is_in_a_lane_at_a_time(
    journal: Journal, settings: Settings
) -> None:
    inside = 0

    async def visit(through: Journal) -> None:
        nonlocal inside
        async with through.lane(ACCOUNT):
            inside += 1
            assert inside == 1
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for through in (journal, other) * 20:
            group.start_soon(visit, through)


async def test_waiting_for_a_lane_can_be_cancelled(journal: Journal, settings: Settings) -> None:
    async with open_journal(settings) as other:
        async with journal.lane(ACCOUNT):
            with anyio.move_on_after(0.1) as scope:
                async with other.lane(ACCOUNT):
                    raise AssertionError("two are in the lane")
            assert scope.cancelled_caught
        with anyio.fail_after(5):
            async with other.lane(ACCOUNT):
                pass
            async with journal.lane(ACCOUNT):
                pass


async def test_a_holder_that_lost_its_lock_cannot_sign(settings: Settings) -> None:
    """A copy of the lane's lock stands for a lock that was lost: both holders think they have it."""
    async with open_journal(settings) as first, open_journal(settings) as second:
        mine, theirs = await opened(first), await opened(second)
        async with first.lane(ACCOUNT) as lane:
            await lane.reserve(mine.id, 0, FEE, CAPS)
            await first._gates[ACCOUNT.key]._mutex.release()  # type: ignore[attr-defined] # noqa: SLF001 - no other way to lose a lock at will
            await sign(second, theirs)
            with pytest.raises(LaneLostError):
                await lane.signed(mine.id, 0, new_hash(), "0x", FEE)

        async with first.lane(ACCOUNT) as lane:
            assert [open_.call_id for open_ in lane.open] == [theirs.id]
