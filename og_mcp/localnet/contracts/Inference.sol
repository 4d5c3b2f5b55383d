// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// A decimal fixed-point number: value / 10**decimals, decimals >= 0.
struct Number {
    int128 value;
    int128 decimals;
}

/// Numbers in row-major order.
struct NumberTensor {
    string name;
    Number[] values;
    uint32[] shape;
}

/// Strings have no shape on the wire.
struct StringTensor {
    string name;
    string[] values;
}

/// `value` is JSON text.
struct JsonScalar {
    string name;
    string value;
}

struct ModelInput {
    NumberTensor[] numbers;
    StringTensor[] strings;
}

struct ModelOutput {
    NumberTensor[] numbers;
    StringTensor[] strings;
    JsonScalar[] jsons;
    bool is_simulation_result;
}

struct ModelInferenceRequest {
    uint8 mode;
    string modelCID;
    ModelInput input;
}

struct ToolCall {
    string id;
    string name;
    string arguments;
}

/// `parameters` is JSON text.
struct ToolDefinition {
    string description;
    string name;
    string parameters;
}

struct ChatMessage {
    string role;
    string content;
    string name;
    string tool_call_id;
    ToolCall[] tool_calls;
}

/// `temperature` is the usual one times 100.
struct LLMChatRequest {
    uint8 mode;
    string modelCID;
    ChatMessage[] messages;
    ToolDefinition[] tools;
    string tool_choice;
    uint32 max_tokens;
    string[] stop_sequence;
    uint32 temperature;
}

struct LLMChatResponse {
    string finish_reason;
    ChatMessage message;
}

struct LLMCompletionRequest {
    uint8 mode;
    string modelCID;
    string prompt;
    uint32 max_tokens;
    string[] stop_sequence;
    uint32 temperature;
}

struct LLMCompletionResponse {
    string answer;
}

/// What the node answers by itself at 0x..F4; there is no bytecode behind it.
interface InferencePrecompile {
    event ModelInferenceEvent(string inferenceID, ModelInferenceRequest request, ModelOutput response);
    event LLMChat(string inferenceID, LLMChatRequest request, LLMChatResponse response);
    event LLMCompletionEvent(
        string inferenceID, LLMCompletionRequest request, LLMCompletionResponse response
    );

    function runModelInference(ModelInferenceRequest calldata request)
        external
        returns (ModelOutput memory);
    function runLLMChat(LLMChatRequest calldata request) external returns (LLMChatResponse memory);
    function runLLMCompletion(LLMCompletionRequest calldata request)
        external
        returns (LLMCompletionResponse memory);
}

/// Runs a model for whoever calls, and announces the result.
///
/// Requests and answers pass through as bytes. Decoding a tensor here would cost gas and time for
/// each of its numbers, and the precompile checks every one of them anyway.
contract Inference {
    address internal constant PRECOMPILE = 0x00000000000000000000000000000000000000F4;

    event InferenceResult(ModelOutput output);
    event LLMChatResult(LLMChatResponse response);
    event LLMCompletionResult(LLMCompletionResponse response);

    function run(string calldata, uint8, ModelInput calldata) external returns (ModelOutput memory) {
        // The three arguments and the three members of the request are laid out alike, the first
        // two swapped; offsets count from the same place, so they hold unchanged.
        forward(
            bytes.concat(
                InferencePrecompile.runModelInference.selector,
                bytes32(uint256(32)),
                msg.data[36:68],
                msg.data[4:36],
                msg.data[68:]
            ),
            InferenceResult.selector
        );
    }

    function runLLMChat(LLMChatRequest calldata) external returns (LLMChatResponse memory) {
        forward(msg.data, LLMChatResult.selector);
    }

    function runLLMCompletion(LLMCompletionRequest calldata)
        external
        returns (LLMCompletionResponse memory)
    {
        forward(msg.data, LLMCompletionResult.selector);
    }

    /// Ends the call: returns what the precompile answered, after an event with the same bytes.
    /// A precompile that answers nothing leaves nothing to announce.
    function forward(bytes memory request, bytes32 topic) private {
        assembly ("memory-safe") {
            // The answer takes the place of the request: memory is paid by its square.
            let start := add(request, 32)
            let succeeded := call(gas(), PRECOMPILE, 0, start, mload(request), 0, 0)
            let size := returndatasize()
            returndatacopy(start, 0, size)
            if iszero(succeeded) { revert(start, size) }
            if size { log1(start, size, topic) }
            return(start, size)
        }
    }
}
