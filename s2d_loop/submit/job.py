"""What is sent to the cluster, as files that stay: so the plain Ray command can be given again by hand."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import s2d_loop
from s2d_loop.config import Config, resolved_yaml
from s2d_loop.errors import BadInputError

if TYPE_CHECKING:
    from s2d_loop.submit.cluster import Cluster

ENTRYPOINT = "python -m s2d_loop.cli run run.yaml"
# Between Ray's TERM and its KILL when a job is stopped.  Engines take so long to end; Ray's own is 3 s.
STOP_WAIT_S = 90
# The job's metadata, by which the next submission knows it.
RUN, CONFIG = "s2d_run", "s2d_config"


@dataclass(frozen=True, slots=True)
class Job:
    """A job that can be submitted."""

    id: str
    folder: Path
    runtime_env: dict[str, Any]
    metadata: dict[str, str]
    ships_code: bool

    def by_hand(self, cluster: "Cluster") -> str:
        """The plain command that does the same."""
        command = ["ray", "job", "submit", "--address", cluster.address, "--submission-id", self.id]
        command += ["--runtime-env", str(self.folder / "runtime_env.yaml")]
        command += ["--metadata-json", json.dumps(self.metadata), "--"]
        return f"{cluster.token_hint}{shlex.join(command)} {ENTRYPOINT}"


def prepare(config: Config, number: int, *, runtime_env: Path | None, ship_code: bool | None) -> Job:
    """Write the job's folder."""
    job_id = f"{_stem(config)}-{number}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "s2d" / "jobs" / job_id
    # For this user only: a runtime environment may hold secrets.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A folder of its own: all that is in it is uploaded.
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / "run.yaml").write_text(resolved_yaml(config))
    package = Path(s2d_loop.__file__).absolute().parent
    ships = ship_code if ship_code is not None else is_checkout(package)
    environment = _environment(_read(runtime_env), work, package if ships else None)
    (folder / "runtime_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
    return Job(job_id, folder, environment, {RUN: config.run.dir, CONFIG: digest(config)}, ships)


def _stem(config: Config) -> str:
    """The same for every job of a run, and readable."""
    name = config.run.dir.rstrip("/").rpartition("/")[2]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "run"
    return f"s2d-{slug}-{hashlib.sha256(config.run.dir.encode()).hexdigest()[:8]}"


def next_number(earlier: Iterable[str]) -> int:
    """One more than the highest number of the run's jobs so far."""
    ends = (re.search(r"-(\d+)$", each) for each in earlier)
    return 1 + max((int(end[1]) for end in ends if end), default=0)


def digest(config: Config) -> str:
    """Tells configurations apart."""
    return hashlib.sha256(resolved_yaml(config).encode()).hexdigest()[:16]


def is_checkout(package: Path) -> bool:
    """Whether the code comes from a source tree; an installed package is taken to be on the cluster too."""
    return not {"site-packages", "dist-packages"} & set(package.parts)


def _environment(given: dict[str, Any], work: Path, package: Path | None) -> dict[str, Any]:
    """Ray's runtime environment: the user's, with what the run needs."""
    environment = {**given, "working_dir": str(work)}
    if package is not None:
        environment["py_modules"] = [str(package), *(given.get("py_modules") or [])]
        environment["excludes"] = ["__pycache__", *(given.get("excludes") or [])]
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
    environment["env_vars"] = variables | (given.get("env_vars") or {})
    return environment


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        given = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInputError(f"--runtime-env {path} can't be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInputError(f"--runtime-env {path} is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise BadInputError(f"--runtime-env {path}: wanted keys such as py_modules, pip or env_vars")
    if "working_dir" in given:
        raise BadInputError(
            f"--runtime-env {path}: working_dir is where the run's configuration goes: put your own code "
            "into py_modules, and data on the file system that the cluster shares"
        )
    return given
