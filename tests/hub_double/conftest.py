from hub_double.fixtures import client, either_client, hub, xet_client

__all__ = ["client", "either_client", "hub", "xet_client"]
