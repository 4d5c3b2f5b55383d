"""The TEE gateway of the local network (protocol.md section 4): chats, completions and images.

* `app` the HTTP application; `requests` reads its requests, `replies` writes its answers.
* `responder` and `upstream` find answers, `pictures` draws.
* `canonical` and `tee` hash and sign. There is no enclave: the keys are made when the network
  starts and prove nothing.
* `gateway_faults` the ways in which answers go wrong on request.
* `fleet` the gateways that run, and their entries in the registry contract.
"""
