"""Submitting without a cluster: what is checked and sent, what is asked, and how a job is followed."""

import asyncio
import importlib.metadata
import json
import shlex
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import s2d_loop
from s2d_loop.config import Config, load
from s2d_loop.errors import BadInputError, ExitCode, S2DError
from s2d_loop.submit import Cluster, Options, submit
from s2d_loop.submit import cluster as cluster_module
from s2d_loop.submit import job as jobs
from s2d_loop.submit.check import check_from_here
from s2d_loop.submit.cluster import Info, TakenError, UnreachableError, read_token
from s2d_loop.submit.follow import follow, outcome
from s2d_loop.submit.job import Job

PACKAGE = Path(s2d_loop.__file__).parent


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("train", "test"):
        row = {"question": f"A coin is heads up. {name}?", "answer": "yes"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def config_of(data: Path, *overrides: str) -> Config:
    """A coin-flip run whose data is here and whose model is on the cluster only."""
    file = data / "config.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "run": {"dir": "/shared/runs/coins"},
                "model": {"path": "/shared/models/big"},
                "tasks": {
                    "coin_flip": {
                        "parser": "coin_flip",
                        "method": {"name": "rar_2step"},
                        "heldout": {"type": "jsonl", "path": f"{data}/test.jsonl"},
                    }
                },
                "sources": [{"task": "coin_flip", "type": "jsonl", "path": f"{data}/train.jsonl"}],
            }
        )
    )
    return load(str(file), overrides)


class FakeCluster:
    """A cluster that takes jobs; each runs as its script says."""

    address = "http://head:8265"
    token_hint = ""

    def __init__(self, *earlier: Info, log: str = "", ends: Info | None = None) -> None:
        self.known = list(earlier)
        self.sent: list[Job] = []
        self.taken: set[str] = set()
        self._log = log
        self._ends = ends

    def version(self) -> str:
        return importlib.metadata.version("ray")

    def jobs(self) -> list[Info]:
        return self.known

    def submit(self, job: Job) -> None:
        if job.id in self.taken:
            raise TakenError(job.id)
        self.sent.append(job)

    def info(self, job_id: str) -> Info:
        assert self._ends is not None
        return self._ends

    async def log(self, job_id: str) -> AsyncIterator[str]:
        yield self._log


def earlier(config: Config, number: int, status: str, **facts: Any) -> Info:
    metadata = {jobs.RUN: config.run.dir, jobs.CONFIG: jobs.digest(config)}
    return Info(f"s2d-coins-00000000-{number}", status, metadata=metadata, **facts)


# What is checked here


def test_a_model_on_the_cluster_only_is_no_problem(data: Path) -> None:
    assert check_from_here(config_of(data)) == ["model.path (/shared/models/big)"]


def test_relative_paths_are_refused_all_at_once(data: Path) -> None:
    config = config_of(
        data,
        "run.dir=runs/here",
        "run.weights_dir=weights",
        "model.path=./model",
        "sources.0.path=data/x.jsonl",
        "tasks.coin_flip.heldout.path=~/y.jsonl",
        "ray.address=auto",
    )
    with pytest.raises(BadInputError) as error:
        check_from_here(config)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ray.address",
        "run.dir",
        "run.weights_dir",
        "model.path",
        "sources.0.path",
        "tasks.coin_flip.heldout.path",
        "(nothing was submitted)",
    ]


def test_what_is_here_is_checked(data: Path) -> None:
    (data / "test.jsonl").write_text('{"unknown": 1}\n')
    (data / "model").mkdir()
    config = config_of(
        data, f"model.path={data}/model", "tasks.coin_flip.method.options={answers: 2, answer: 3}"
    )
    with pytest.raises(BadInputError) as error:
        check_from_here(config)
    message = str(error.value)
    assert "model.path:" in message
    assert "config.json" in message
    assert "tasks.coin_flip.heldout.path:" in message
    assert "did you mean 'answers'" in message


def test_hub_names_are_left_to_the_cluster(data: Path) -> None:
    config = config_of(
        data, "model.path=owner/model", "sources.0.type=dataset", "sources.0.path=openai/gsm8k"
    )
    assert check_from_here(config) == []


def test_plugins_of_the_cluster_are_left_to_it(data: Path) -> None:
    config = config_of(
        data, "tasks.coin_flip.method.name=elsewhere.programs:mine", "tasks.coin_flip.parser=openn"
    )
    with pytest.raises(BadInputError, match="did you mean 'open'") as error:
        check_from_here(config)
    assert "elsewhere" not in str(error.value)


def test_examples_on_the_cluster_only_are_left_to_it(data: Path) -> None:
    def few_shot(path: str) -> Config:
        return config_of(
            data, f"tasks.coin_flip.system1_method={{name: direct_few_shot, options: {{examples: {path}}}}}"
        )

    key = "tasks.coin_flip.system1_method"
    assert f"{key}.options.examples (/shared/gsm8k.jsonl)" in check_from_here(few_shot("/shared/gsm8k.jsonl"))
    with pytest.raises(
        BadInputError, match=rf"{key}\.options\.examples: 'gsm8k.jsonl' starts at the current"
    ):
        check_from_here(few_shot("gsm8k.jsonl"))
    with pytest.raises(BadInputError, match="is not of the form"):
        check_from_here(few_shot(f"{data}/train.jsonl"))


def test_globs_are_seen_by_a_match(data: Path) -> None:
    assert "sources" not in " ".join(check_from_here(config_of(data, f"sources.0.path={data}/tr*.jsonl")))
    unseen = check_from_here(config_of(data, "sources.0.path=/shared/data/*.jsonl"))
    assert unseen[1] == "sources.0.path (/shared/data/*.jsonl)"


# What is sent


def test_the_job_holds_the_resolved_configuration(data: Path) -> None:
    config = config_of(data, "train.steps=7")
    job = jobs.prepare(config, 3, runtime_env=None, ship_code=None)
    work = Path(job.runtime_env["working_dir"])
    assert [each.name for each in work.iterdir()] == ["run.yaml"]
    assert load(str(work / "run.yaml")) == config
    assert job.id.startswith("s2d-coins-")
    assert job.id.endswith("-3")
    assert job.metadata[jobs.RUN] == "/shared/runs/coins"
    assert yaml.safe_load((job.folder / "runtime_env.yaml").read_text()) == job.runtime_env


def test_a_checkouts_code_goes_along_and_an_installed_package_does_not(data: Path) -> None:
    config = config_of(data)
    assert jobs.is_checkout(Path("/home/me/s2d/s2d_loop"))
    assert not jobs.is_checkout(Path("/usr/lib/python3.11/site-packages/s2d_loop"))
    shipped = jobs.prepare(config, 1, runtime_env=None, ship_code=True)
    assert shipped.runtime_env["py_modules"] == [str(PACKAGE)]
    assert "__pycache__" in shipped.runtime_env["excludes"]
    assert "py_modules" not in jobs.prepare(config, 1, runtime_env=None, ship_code=False).runtime_env


def test_the_users_runtime_environment_is_kept(data: Path) -> None:
    file = data / "env.yaml"
    file.write_text("py_modules: [/my/code]\nenv_vars: {A: b, RAY_JOB_STOP_WAIT_TIME_S: '5'}\npip: [x]\n")
    job = jobs.prepare(config_of(data), 1, runtime_env=file, ship_code=True)
    assert job.runtime_env["py_modules"] == [str(PACKAGE), "/my/code"]
    assert job.runtime_env["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "5", "A": "b"}
    assert job.runtime_env["pip"] == ["x"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("working_dir: .", "py_modules"), ("- a", "wanted keys"), ("a: [", "not YAML"), (None, "can't be read")],
)
def test_a_runtime_environment_that_cant_be_used(data: Path, text: str | None, why: str) -> None:
    file = data / "env.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInputError, match=why):
        jobs.prepare(config_of(data), 1, runtime_env=file, ship_code=False)


def test_the_plain_command_is_one_that_a_shell_reads(data: Path) -> None:
    job = jobs.prepare(config_of(data), 1, runtime_env=None, ship_code=True)
    token = data / "to ken"
    token.write_text("secret")
    words = shlex.split(job.by_hand(Cluster("http://head:8265", token)))
    assert words[:2] == ["RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN_PATH={token}"]
    assert "secret" not in " ".join(words)
    assert json.loads(words[words.index("--metadata-json") + 1]) == job.metadata
    assert words[words.index("--") + 1 :] == jobs.ENTRYPOINT.split()


# Again, and at the same time


def test_submitting_again_takes_the_next_number(data: Path) -> None:
    config = config_of(data)
    cluster = FakeCluster(earlier(config, 1, "FAILED"), earlier(config, 9, "SUCCEEDED"))
    said: list[str] = []
    assert submit(config, cluster, Options(), said.append) == ExitCode.DONE
    assert [job.id.rpartition("-")[2] for job in cluster.sent] == ["10"]
    assert any("model.path (/shared/models/big)" in line for line in said)
    assert not any("tested with" in line for line in said)
    cluster.version = lambda: "2.50.0"  # type: ignore[method-assign]
    submit(config, cluster, Options(), said.append)
    assert any("2.50.0 there" in line for line in said)


def test_a_number_that_somebody_else_took_is_skipped(data: Path) -> None:
    config = config_of(data)
    cluster = FakeCluster()
    cluster.taken = {jobs.prepare(config, n, runtime_env=None, ship_code=None).id for n in (1, 2)}
    submit(config, cluster, Options(), lambda _: None)
    assert cluster.sent[0].id.endswith("-3")


def test_a_run_under_way_is_followed_and_not_doubled(data: Path) -> None:
    config = config_of(data)
    running = earlier(config, 4, "RUNNING")
    cluster = FakeCluster(running, log="hello\n", ends=earlier(config, 4, "FAILED", exit_code=3))
    said: list[str] = []
    assert submit(config, cluster, Options(follow=True), said.append) == ExitCode.HELD
    assert cluster.sent == []
    assert "nothing new was submitted" in said[0]
    assert said[-1] == "hello"
    assert submit(config, cluster, Options(take_over=True), said.append) == ExitCode.DONE
    assert cluster.sent[0].id.endswith("-5")


def test_a_run_under_way_with_another_configuration_is_named(data: Path) -> None:
    cluster = FakeCluster(earlier(config_of(data), 4, "PENDING"))
    with pytest.raises(
        BadInputError, match=r"s2d-coins-00000000-4 has .* in hand, with another configuration"
    ):
        submit(config_of(data, "train.steps=5"), cluster, Options(), lambda _: None)


def test_other_runs_dont_matter(data: Path) -> None:
    other = Info("s2d-x-1", "RUNNING", metadata={jobs.RUN: "/shared/other"})
    cluster = FakeCluster(other, Info("", "RUNNING"))
    submit(config_of(data), cluster, Options(), lambda _: None)
    assert cluster.sent[0].id.endswith("-1")


# Following


class Scripted:
    """A log that breaks where the script says, and is read from its start again."""

    def __init__(self, text: str, breaks: list[Any], answers: list[Any]) -> None:
        self._text = text
        self._breaks = breaks
        self._answers = answers

    async def log(self, job_id: str) -> AsyncIterator[str]:
        until = self._breaks.pop(0)
        if isinstance(until, Exception):
            raise until
        for start in range(0, until, 7):
            yield self._text[start : min(until, start + 7)]
        if self._breaks:
            await asyncio.sleep(3600)

    def info(self, job_id: str) -> Info:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Info(job_id, *answer)


def test_a_log_is_shown_once_whatever_breaks() -> None:
    text = "".join(f"line {n}\n" for n in range(40)) + "no newline"
    running = ("RUNNING", "", None)
    source = Scripted(
        text,
        [30, 31, OSError("gone"), 200, 15, len(text)],
        [running, running, UnreachableError("gone"), running, running, ("SUCCEEDED", "", 0)],
    )
    said: list[str] = []
    code = follow(source, "job", said.append, silence_s=0.05, poll_s=0.01)
    assert code == ExitCode.DONE
    assert said == text.split("\n")


def test_a_cluster_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    source = Scripted("", [OSError()] * 1000, [UnreachableError("no Ray cluster answers")] * 1000)
    with pytest.raises(S2DError, match="lost sight of job job") as error:
        follow(source, "job", lambda _: None, patience_s=0.05)
    assert error.value.exit_code == ExitCode.FAILED
    assert "same command follows it again" in str(error.value)


def test_control_c_detaches(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(data)
    cluster = FakeCluster(earlier(config, 1, "RUNNING"))
    monkeypatch.setattr(cluster, "info", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    said: list[str] = []
    assert submit(config, cluster, Options(follow=True), said.append) == ExitCode.INTERRUPTED
    assert "the job goes on" in said[-2]
    assert "ray job stop" in said[-1]


@pytest.mark.parametrize(
    ("status", "code", "wanted", "said"),
    [
        ("SUCCEEDED", 0, ExitCode.DONE, ""),
        ("FAILED", 2, ExitCode.BAD_INPUT, ""),
        ("FAILED", 3, ExitCode.HELD, ""),
        ("FAILED", 5, ExitCode.LOST_LEASE, ""),
        ("FAILED", 130, ExitCode.INTERRUPTED, ""),
        ("FAILED", -9, ExitCode.FAILED, "killed by signal 9"),
        ("FAILED", 77, ExitCode.FAILED, "exit code 77"),
        ("FAILED", None, ExitCode.FAILED, "Submitting again is safe"),
        ("STOPPED", None, ExitCode.INTERRUPTED, "was stopped"),
    ],
)
def test_exit_codes(status: str, code: int | None, wanted: ExitCode, said: str) -> None:
    lines: list[str] = []
    assert outcome(Info("job", status, "a\nruntime env failed\n", code), lines.append) == wanted
    assert said in "\n".join(lines)


# The cluster's side of the wire


class Dashboard(BaseHTTPRequestHandler):
    token = "right"

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        if self.path == "/nowhere/api/version":
            return self._answer(404, b"")
        if self.path == "/page/api/version":
            return self._answer(200, b"<html>")
        if self.path == "/list/api/version":
            return self._answer(200, b"[]")
        if given != f"Bearer {self.token}":
            return self._answer(403 if given else 401, b"Unauthorized")
        rows = [{"submission_id": "a", "status": "RUNNING", "metadata": None}, {"submission_id": None}]
        answers: dict[str, Any] = {"/api/version": {"ray_version": "2.60.0"}, "/api/jobs/": rows}
        return self._answer(200, json.dumps(answers[self.path]).encode())

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_cluster_is_asked_with_its_token(dashboard: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right\n")
    cluster = Cluster(dashboard, tmp_path / "token")
    assert cluster.version() == "2.60.0"
    assert [(each.id, each.status, each.metadata) for each in cluster.jobs()] == [("a", "RUNNING", {})]


def test_without_the_token_it_says_how_to_give_it(dashboard: str) -> None:
    with pytest.raises(BadInputError, match="--token-file, RAY_AUTH_TOKEN_PATH or"):
        Cluster(dashboard).version()


def test_a_wrong_token_is_not_shown(dashboard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong-secret")
    with pytest.raises(BadInputError, match="refused the token") as error:
        Cluster(dashboard).version()
    assert "wrong-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "why"), [("nowhere", "HTTP 404"), ("page", "not a Ray dashboard"), ("list", "not a Ray dash")]
)
def test_something_else_answers(dashboard: str, path: str, why: str) -> None:
    with pytest.raises(BadInputError, match=why):
        Cluster(f"{dashboard}/{path}").version()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "ANSWER_S", 0.2)
    with pytest.raises(UnreachableError, match=r"no Ray cluster answers at http://127\.0\.0\.1:1 "):
        Cluster("127.0.0.1:1").version()
    with socket.socket() as silent:  # takes connections, and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="timed out"):
            Cluster(f"127.0.0.1:{silent.getsockname()[1]}").version()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("address", ["ray://head:10001", "http://", "ftp://head", "http://head:99999999"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(BadInputError, match="dashboard, such as http://HEAD:8265"):
        Cluster(address)


def test_where_a_token_is_looked_for(tmp_path: Path) -> None:
    assert read_token(None, {}) is None
    default = tmp_path / ".ray" / "auth_token"
    default.parent.mkdir()
    default.write_text("default")
    other = tmp_path / "other"
    other.write_text(" other\n")
    assert read_token(None, {}) == "default"
    assert read_token(None, {"RAY_AUTH_TOKEN_PATH": str(other)}) == "other"
    assert read_token(None, {"RAY_AUTH_TOKEN": "env", "RAY_AUTH_TOKEN_PATH": str(other)}) == "env"
    assert read_token(other, {"RAY_AUTH_TOKEN": "env"}) == "other"
    with pytest.raises(BadInputError, match="can't be read"):
        read_token(tmp_path / "none", {})
    other.write_text("")
    with pytest.raises(BadInputError, match="is empty"):
        read_token(other, {})
