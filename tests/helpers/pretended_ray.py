"""Stand-ins for the modules of Ray that the package uses. No actor runs: a test sets the result of each call."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class ActorUnschedulableError(RayError):
    pass


class Actor:
    """The handle of an actor. The result of its current call is set by a test."""

    def __init__(self, cluster, options):
        self.cluster, self.options, self.result, self.is_killed = cluster, options, None, False
        self.node = options["scheduling_strategy"].node_id
        self.check = SimpleNamespace(remote=lambda *arguments: self._call("check", arguments))
        self.work = SimpleNamespace(remote=lambda *arguments: self._call("work", arguments))

    def _call(self, method, arguments):
        self.method, self.arguments, self.result = method, arguments, None
        return self

    def returns(self, result):
        """Lets the current call end with a result, or with an exception."""
        self.result = (result,)


class Cluster:
    """Stand-in for a cluster: its nodes, and the actors that were started on them."""

    def __init__(self, **cpus):
        self.cpus, self.actors, self.sent = dict(cpus), [], []

    def nodes(self):
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": cpus}} for name, cpus in self.cpus.items()]

    def running(self):
        """Returns the actors that the package did not kill, by node."""
        return {actor.node: actor for actor in self.actors if not actor.is_killed}

    def modules(self):
        """Returns the stand-ins for modules of Ray: name of the module -> module."""
        ray = ModuleType("ray")
        ray.exceptions = SimpleNamespace(
            RayError=RayError, RayTaskError=RayTaskError, ActorUnschedulableError=ActorUnschedulableError
        )
        ray.nodes, ray.remote = self.nodes, self._remote
        ray.wait = lambda calls, timeout: ([call for call in calls if call.result is not None], [])
        ray.get, ray.kill = self._get, lambda actor: setattr(actor, "is_killed", True)
        strategies = ModuleType("ray.util.scheduling_strategies")
        strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: SimpleNamespace(node_id=node_id, soft=soft)
        return {"ray": ray, "ray.util": ModuleType("ray.util"), "ray.util.scheduling_strategies": strategies}

    def _remote(self, **options):
        return lambda target: SimpleNamespace(options=lambda **more: SimpleNamespace(remote=self._start(target, more)))

    def _start(self, target, options):
        if isinstance(target, type):
            return lambda: self.actors.append(Actor(self, options)) or self.actors[-1]
        return lambda *arguments: self.sent.append((options["scheduling_strategy"].node_id, *arguments))

    def _get(self, call):
        [result] = call.result
        if isinstance(result, Exception):
            raise result
        return result
