"""Language models: requests as they are sent, answers as gateways give them."""
