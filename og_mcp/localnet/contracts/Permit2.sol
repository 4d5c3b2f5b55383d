// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

interface IERC20 {
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// Moves tokens of an owner who signed for it; only with a witness, which the signature covers too.
/// Owners are wallets: contracts that sign are not known here.
contract Permit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
    bytes32 private constant PERMISSIONS_TYPE =
        keccak256("TokenPermissions(address token,uint256 amount)");
    string private constant TRANSFER_TYPE =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";

    /// The used nonces of an owner: bit `nonce & 255` of word `nonce >> 8`.
    mapping(address => mapping(uint256 => uint256)) public nonceBitmap;

    event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

    error SignatureExpired(uint256 signatureDeadline);
    error InvalidAmount(uint256 maxAmount);
    error InvalidNonce();
    error InvalidSignature();
    error InvalidSigner();
    error TransferFailed();

    /// Moves up to the permitted amount; the caller is the spender that the owner signed for.
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        if (block.timestamp > permit.deadline) revert SignatureExpired(permit.deadline);
        if (transferDetails.requestedAmount > permit.permitted.amount) {
            revert InvalidAmount(permit.permitted.amount);
        }
        useNonce(owner, permit.nonce);
        bytes32 digest = digestOf(hashOf(permit, witness, witnessTypeString));
        if (signerOf(digest, signature) != owner) revert InvalidSigner();
        IERC20 token = IERC20(permit.permitted.token);
        if (!token.transferFrom(owner, transferDetails.to, transferDetails.requestedAmount)) {
            revert TransferFailed();
        }
    }

    /// Voids open signatures of the caller: every nonce of the word whose bit is set in `mask`.
    function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external {
        nonceBitmap[msg.sender][wordPos] |= mask;
        emit UnorderedNonceInvalidation(msg.sender, wordPos, mask);
    }

    function useNonce(address owner, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 255);
        uint256 word = nonceBitmap[owner][nonce >> 8];
        if (word & bit != 0) revert InvalidNonce();
        nonceBitmap[owner][nonce >> 8] = word | bit;
    }

    function hashOf(
        PermitTransferFrom calldata permit,
        bytes32 witness,
        string calldata witnessTypeString
    ) private view returns (bytes32) {
        bytes32 permissions = keccak256(
            abi.encode(PERMISSIONS_TYPE, permit.permitted.token, permit.permitted.amount)
        );
        bytes32 transferType = keccak256(abi.encodePacked(TRANSFER_TYPE, witnessTypeString));
        return keccak256(
            abi.encode(transferType, permissions, msg.sender, permit.nonce, permit.deadline, witness)
        );
    }

    function digestOf(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPE, keccak256("Permit2"), block.chainid, address(this))
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function signerOf(bytes32 digest, bytes calldata signature) private pure returns (address) {
        if (signature.length != 65) revert InvalidSignature();
        address signer = ecrecover(
            digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64])
        );
        // What ecrecover gives for no signature must not pass for an owner.
        if (signer == address(0)) revert InvalidSignature();
        return signer;
    }
}
