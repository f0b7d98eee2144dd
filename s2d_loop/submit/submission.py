"""The order of a submission: check here, ask the cluster, send, follow."""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2d_loop.config import Config
from s2d_loop.errors import BadInputError, ExitCode, S2DError
from s2d_loop.submit import job as jobs
from s2d_loop.submit.check import check_from_here
from s2d_loop.submit.cluster import Cluster, Info, TakenError
from s2d_loop.submit.follow import follow
from s2d_loop.submit.job import Job

Echo = Callable[[str], None]

_UNDER_WAY = ("PENDING", "RUNNING")
# Others may submit at the same time and take the number; so many at once are a mistake.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Options:
    """How to submit; the command's options."""

    follow: bool = False
    runtime_env: Path | None = None
    ship_code: bool | None = None
    """None: the code goes along when this is a source checkout."""
    take_over: bool = False
    """Submit although a job of this run is under way."""


def submit(config: Config, cluster: Cluster, options: Options, echo: Echo) -> ExitCode:
    """Send the run to the cluster; with `follow`, stay until it ends and return what it returned.

    Raises:
        BadInputError: nothing was submitted; the message says what to change.
        S2DError: the cluster stopped answering while the job was followed.
    """
    unseen = check_from_here(config)
    version = cluster.version()
    earlier = [each for each in cluster.jobs() if each.metadata.get(jobs.RUN) == config.run.dir]
    job_id = None if options.take_over else _under_way(earlier, config, cluster)
    if job_id is not None:
        echo(f"Job {job_id} on {cluster.address} has this run in hand; nothing new was submitted.")
    else:
        job = _send(config, cluster, options, earlier)
        job_id = job.id
        echo(f"Submitted job {job.id} to {cluster.address} (Ray {version}).")
        if version != (here := importlib.metadata.version("ray")):
            echo(f"  Ray      {version} there, but {here} is what this code was tested with")
        echo(f"  code     {'shipped from here' if job.ships_code else 'what the cluster has installed'}")
        for each in unseen:
            echo(f"  unseen   {each}: not known on this machine, the job checks it first")
        echo(f"  by hand  {job.by_hand(cluster)}")
    if options.follow:
        return _follow(cluster, job_id, echo)
    echo(f"Follow it:  {_by_id('logs --follow', job_id, cluster)}")
    echo(f"Stop it:    {_by_id('stop', job_id, cluster)}")
    return ExitCode.DONE


def _follow(cluster: Cluster, job_id: str, echo: Echo) -> ExitCode:
    try:
        return follow(cluster, job_id, echo)
    except KeyboardInterrupt:
        echo("\nDetached: the job goes on.  The same command follows it again; what stops it is")
        echo(f"  {_by_id('stop', job_id, cluster)}")
        return ExitCode.INTERRUPTED


def _under_way(earlier: Sequence[Info], config: Config, cluster: Cluster) -> str | None:
    """The job that has this run in hand, if there is one."""
    for each in earlier:
        if each.status not in _UNDER_WAY:
            continue
        if each.metadata.get(jobs.CONFIG) != jobs.digest(config):
            raise BadInputError(
                f"job {each.id} has {config.run.dir} in hand, with another configuration: stop it first "
                f"(`{_by_id('stop', each.id, cluster)}`), or set run.dir to a new directory"
            )
        return each.id
    return None


def _send(config: Config, cluster: Cluster, options: Options, earlier: Sequence[Info]) -> Job:
    first = jobs.next_number([each.id for each in earlier])
    for number in range(first, first + _TRIES):
        job = jobs.prepare(config, number, runtime_env=options.runtime_env, ship_code=options.ship_code)
        try:
            cluster.submit(job)
        except TakenError:
            continue
        return job
    raise S2DError(
        f"the numbers {first} to {first + _TRIES - 1} of this run are all taken on {cluster.address}; "
        "nothing was submitted"
    )


def _by_id(what: str, job_id: str, cluster: Cluster) -> str:
    return f"{cluster.token_hint}ray job {what} --address {cluster.address} {job_id}"
