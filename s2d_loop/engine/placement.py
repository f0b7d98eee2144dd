"""Where engines go: one placement group each, checked against the cluster before anybody waits."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from s2d_loop.config.generation import EngineConfig
from s2d_loop.config.training import TrainConfig
from s2d_loop.engine.settings import num_ranks
from s2d_loop.errors import BadInputError, EngineError

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one engine asks of the cluster.

    `across_nodes` is true where no node has enough accelerators for one engine: then every rank has
    a bundle of its own, and vLLM's Ray executor runs the ranks.
    """

    bundles: tuple[dict[str, float], ...]
    gpu: bool
    across_nodes: bool

    @property
    def strategy(self) -> str:
        return "PACK" if self.across_nodes else "STRICT_PACK"

    @property
    def wanted(self) -> str:
        """The bundles, for people."""
        kinds = sorted({_text(bundle) for bundle in self.bundles})
        return f"{len(self.bundles)} x ({'; '.join(kinds)})"


def plan(config: EngineConfig, nodes: Sequence[Resources]) -> Plan:
    """How one engine is placed on a cluster with these nodes' total resources."""
    ranks = num_ranks(config)
    most = max((node.get("GPU", 0) for node in nodes), default=0)
    if not most:
        return Plan(({"CPU": float(config.cpus_per_engine)},), gpu=False, across_nodes=False)
    if ranks <= most:
        return Plan(({"GPU": float(ranks), "CPU": 1.0},), gpu=True, across_nodes=False)
    return Plan(tuple({"GPU": 1.0, "CPU": 1.0} for _ in range(ranks)), gpu=True, across_nodes=True)


def check_fits(engine: EngineConfig, nodes: Sequence[Resources], train: TrainConfig | None = None) -> None:
    """Refuse engines and train workers that an otherwise empty cluster of these nodes could never hold.

    Both at once: engines keep their places while the trainer works.
    """
    each = plan(engine, nodes)
    free = [dict(node) for node in nodes]
    for number in range(engine.num_engines):
        if not all(_take(free, bundle) for bundle in each.bundles):
            raise BadInputError(
                f"engine.num_engines: wanted {engine.num_engines} engines, each {each.wanted}; "
                f"available {_available(nodes)}, which is enough for {number}: lower num_engines, "
                f"tensor_parallel_size or cpus_per_engine, or add nodes"
            )
    if train is None:
        return
    worker = {"CPU": float(train.cpus_per_worker)}
    if train.gpus_per_worker:
        worker["GPU"] = train.gpus_per_worker
    for number in range(train.num_workers):
        if not _take(free, worker):
            raise BadInputError(
                f"train.num_workers: wanted {train.num_workers} workers, each ({_text(worker)}), beside "
                f"{engine.num_engines} engines, each {each.wanted}; available {_available(nodes)}, which is "
                f"enough for {number}: lower num_workers, gpus_per_worker or num_engines, or add nodes"
            )


def cluster_nodes() -> list[Resources]:
    """Total resources of every living node of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class Place:
    """One engine's placement group."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._group = placement_group(list(plan.bundles), strategy=plan.strategy)

    async def ready(self, limit_s: float) -> None:
        """Wait for the resources, for at most `limit_s`."""
        try:
            await asyncio.wait_for(self._group.ready(), limit_s)
        except TimeoutError:
            raise EngineError(
                f"waited {limit_s:g} s for an engine's resources: wanted {self.plan.wanted}, "
                f"available {_text(ray.available_resources())} of {_available(cluster_nodes())}; something "
                f"else on the cluster holds them (`ray status`), or raise ray.resources_timeout_s"
            ) from None

    def node(self) -> str:
        """The node that the engine's first bundle is on."""
        return str(placement_group_table(self._group)["bundles_to_node_id"][0])

    def options(self) -> dict[str, Any]:
        """Ray options of the engine's actor.  Across nodes the GPUs are for its ranks' actors."""
        bundle = self.plan.bundles[0]
        return {
            "num_cpus": bundle["CPU"],
            "num_gpus": 0 if self.plan.across_nodes else bundle.get("GPU", 0),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                placement_group=self._group,
                placement_group_bundle_index=0,
                placement_group_capture_child_tasks=self.plan.across_nodes,
            ),
        }

    def release(self) -> None:
        """Give the resources back."""
        remove_placement_group(self._group)


def _take(free: list[dict[str, float]], bundle: Resources) -> bool:
    """Take a bundle from the first node that holds it; False where none does."""
    for node in free:
        if all(node.get(name, 0) >= amount for name, amount in bundle.items()):
            node.update({name: node.get(name, 0) - amount for name, amount in bundle.items()})
            return True
    return False


def _text(resources: Resources) -> str:
    return ", ".join(f"{name} {resources.get(name, 0):g}" for name in ("GPU", "CPU") if name in resources)


def _available(nodes: Sequence[Resources]) -> str:
    return " + ".join(f"({_text(node)})" for node in nodes) or "no node"
