"""A double of the Hugging Face Hub on loopback, for tests that speak to it with the real, unmodified clients.

    with Double() as hub, Client(hub, home, xet=False) as client:
        client(push, hub.repo_id(), ...)                      # huggingface_hub and datasets, in a process of their own
        hub.dataset(repo).files("v1.0.0")                     # what the Hub holds now
        hub.log.select("PUT")                                 # what was sent
        hub.faults.add("POST", "/commit/", Status(503))       # what shall go wrong next
        hub.verify()                                          # nothing unknown, nothing leaked

`double` holds everything together; `server` are the sockets, `routing` and `routes_*` what is answered where, `repos`,
`accounts`, `objects`, `xet` and `lz4` what there is. `faults`, `log` and `tripwire` are for tests, `client` and
`worker` run the clients, and `fixtures` are `hub`, `client`, `xet_client` and `either_client`. The double is the
standard library alone: it imports no client, so that it cannot agree with one by construction.
"""
