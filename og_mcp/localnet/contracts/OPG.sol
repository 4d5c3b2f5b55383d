// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// An ERC-20 token. Balances, allowances and supply start as the genesis block sets them.
contract OPG {
    string public constant name = "OpenGradient";
    string public constant symbol = "OPG";
    uint8 public constant decimals = 18;

    /// Slot 0.
    mapping(address => uint256) public balanceOf;

    /// Slot 1; owner, then spender.
    mapping(address => mapping(address => uint256)) public allowance;

    /// Slot 2.
    uint256 public totalSupply;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error InsufficientBalance(address owner, uint256 balance, uint256 needed);
    error InsufficientAllowance(address spender, uint256 allowance, uint256 needed);

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed < value) revert InsufficientAllowance(msg.sender, allowed, value);
        // The largest allowance never runs out, as most tokens have it.
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        move(from, to, value);
        return true;
    }

    function move(address from, address to, uint256 value) private {
        uint256 balance = balanceOf[from];
        if (balance < value) revert InsufficientBalance(from, balance, value);
        balanceOf[from] = balance - value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}
