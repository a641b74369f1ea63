"""The Hub double: a server on loopback that behaves like the Hugging Face Hub, for tests with the real clients.

    with Double() as hub, Client(hub, home, xet=False) as client:
        client(push, hub.repo_id(), ...)                      # runs huggingface_hub and datasets in another process
        hub.dataset(repo).files("v1.0.0")                     # files that the Hub stores
        hub.log.select("PUT")                                 # requests that were sent
        hub.faults.add("POST", "/commit/", Status(503))       # the next fault
        hub.verify()                                          # raises after an unknown request or a leak

`double` is the server as one object. `server` has the sockets. `routing` and `routes_*` map requests to replies.
`repos`, `accounts`, `objects`, `xet` and `lz4` have the state. Tests use `faults`, `log` and `tripwire`. `client` and
`worker` run the clients. `fixtures` defines `hub`, `client`, `xet_client` and `either_client`. The double imports only
the standard library and no client, so it cannot repeat a fault of a client.
"""
