"""The OpenGradient chain: the wallet, its transactions, and the calls of the inference contract."""
