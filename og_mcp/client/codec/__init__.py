"""The codec: tensors and LLM requests to ABI words and back (protocol.md section 3.1); pure."""
