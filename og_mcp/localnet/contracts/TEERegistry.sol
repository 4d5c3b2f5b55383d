// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Lists the enclaves whose gateways answer LLM requests. Its owner writes, everyone reads.
contract TEERegistry {
    struct OhttpConfig {
        uint8 keyId;
        uint16 kemId;
        uint16 kdfId;
        uint16 aeadId;
        bytes publicKey;
        bytes keyConfig;
        uint256 registeredAt;
    }

    struct TEEInfo {
        address owner;
        address paymentAddress;
        string endpoint;
        bytes publicKey;
        bytes tlsCertificate;
        bytes32 pcrHash;
        uint8 teeType;
        bool enabled;
        uint256 registeredAt;
        uint256 lastHeartbeatAt;
        OhttpConfig ohttpConfig;
    }

    /// Slot 0, set by the genesis block: no constructor has run.
    address public owner;

    /// Slot 1, set by the genesis block; seconds after which a heartbeat is stale.
    uint256 public heartbeatWindow;

    bytes32[] private ids;
    mapping(bytes32 => TEEInfo) private tees;

    modifier onlyOwner() {
        require(msg.sender == owner, "only the owner of the registry may do this");
        _;
    }

    modifier known(bytes32 teeId) {
        require(tees[teeId].publicKey.length != 0, "no such TEE");
        _;
    }

    /// Adds a TEE, or replaces the one with the same public key. Its id is the key's hash.
    function put(TEEInfo calldata info) external onlyOwner returns (bytes32 teeId) {
        require(info.publicKey.length != 0, "a TEE needs a public key");
        teeId = keccak256(info.publicKey);
        if (tees[teeId].publicKey.length == 0) ids.push(teeId);
        tees[teeId] = info;
    }

    function setEnabled(bytes32 teeId, bool enabled) external onlyOwner known(teeId) {
        tees[teeId].enabled = enabled;
    }

    function setHeartbeat(bytes32 teeId, uint256 when) external onlyOwner known(teeId) {
        tees[teeId].lastHeartbeatAt = when;
    }

    function setHeartbeatWindow(uint256 window) external onlyOwner {
        heartbeatWindow = window;
    }

    function getTEE(bytes32 teeId) external view known(teeId) returns (TEEInfo memory) {
        return tees[teeId];
    }

    function isTEEEnabled(bytes32 teeId) public view returns (bool) {
        return tees[teeId].enabled;
    }

    function isTEEActive(bytes32 teeId) public view returns (bool) {
        TEEInfo storage tee = tees[teeId];
        return tee.enabled && block.timestamp <= tee.lastHeartbeatAt + heartbeatWindow;
    }

    function getTEEsByType(uint8 teeType) external view returns (bytes32[] memory) {
        return select(teeType, anyTEE);
    }

    function getEnabledTEEs(uint8 teeType) external view returns (bytes32[] memory) {
        return select(teeType, isTEEEnabled);
    }

    function getActiveTEEs(uint8 teeType) external view returns (TEEInfo[] memory found) {
        bytes32[] memory active = select(teeType, isTEEActive);
        found = new TEEInfo[](active.length);
        for (uint256 i = 0; i < active.length; i++) found[i] = tees[active[i]];
    }

    function anyTEE(bytes32) private pure returns (bool) {
        return true;
    }

    function select(uint8 teeType, function(bytes32) view returns (bool) wanted)
        private
        view
        returns (bytes32[] memory found)
    {
        found = new bytes32[](ids.length);
        uint256 count = 0;
        for (uint256 i = 0; i < ids.length; i++) {
            if (tees[ids[i]].teeType == teeType && wanted(ids[i])) found[count++] = ids[i];
        }
        // Shortens the array to what was found.
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }
}
