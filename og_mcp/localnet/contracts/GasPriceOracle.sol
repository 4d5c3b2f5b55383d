// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What a client asks of the OP Stack's oracle before it signs. The real one estimates how far the
/// data compresses; here each byte has one price.
contract GasPriceOracle {
    uint256 public weiAByte;

    function getL1FeeUpperBound(uint256 unsignedTxSize) external view returns (uint256) {
        return unsignedTxSize * weiAByte;
    }
}
