"""Secrets in a configuration: refused where one is written, at its place, and shown nowhere."""

import json
from pathlib import Path

import pytest

from s2d_loop.config import Config, difference, load
from s2d_loop.config.secrets import MASK, is_secret, literal_secrets, masked, without_login
from s2d_loop.errors import BadInputError

LEAK = "hunter2Secret"
CONFIG = """\
run: {dir: runs/a}
model: {path: testbed://model}
tasks:
  coin:
    method:
      name: rar_2step
      options:
        api_key: PROGRAM
        stop_token: "</s>"
        max_tokens: 64
    heldout: {type: jsonl, path: heldout.jsonl}
sources:
  - task: coin
    type: kafka
    path: kafka://broker:9092/topic
    options:
      security.protocol: SASL_SSL
      sasl.username: me
      sasl.password: CLIENT
"""


def write(folder: Path, *, client: str = "$KAFKA_PASSWORD", program: str = "$API_KEY", **more: str) -> str:
    text = CONFIG.replace("CLIENT", client).replace("PROGRAM", program)
    for old, new in more.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "c.yaml").write_text(text)
    return str(folder / "c.yaml")


def complaint(path: str, *overrides: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load(path, overrides)
    assert LEAK not in str(caught.value)
    return str(caught.value)


def test_names_of_variables_are_taken(tmp_path: Path) -> None:
    config = load(write(tmp_path))
    assert config.sources[0].options["sasl.password"] == "$KAFKA_PASSWORD"
    assert config.tasks["coin"].method.options == {
        "api_key": "$API_KEY",
        "stop_token": "</s>",
        "max_tokens": 64,
    }


def test_a_literal_is_refused_at_its_line_with_what_to_write_instead(tmp_path: Path) -> None:
    path = write(tmp_path, client=LEAK, program=LEAK)
    said = complaint(path)
    assert "2 things are wrong" in said
    assert f"{path}:19: sources.0.options.sasl.password: looks like a secret" in said
    assert "write the variable's name here, as $SASL_PASSWORD" in said
    assert f"{path}:8: tasks.coin.method.options.api_key: looks like a secret" in said
    assert "let the program read it" in said


@pytest.mark.parametrize("literal", ["$ecret!", "$", "${NAME}", "12 34", "a$NAME", "$NAME b"])
def test_what_only_looks_like_a_variable_is_a_literal(tmp_path: Path, literal: str) -> None:
    assert "sources.0.options.sasl.password: looks like" in complaint(write(tmp_path, client=f'"{literal}"'))


def test_neither_a_wrong_type_nor_an_override_shows_it(tmp_path: Path) -> None:
    assert f"wanted text, got '{MASK}'" in complaint(write(tmp_path, client="123456789"))
    assert "123456789" not in complaint(write(tmp_path, client="123456789"))
    good = write(tmp_path)
    said = complaint(good, f"sources.0.options.secret={LEAK}")
    assert f"override 'sources.0.options.secret={MASK}'" in said
    assert "sources.0.options.secret: looks like a secret" in said
    said = complaint(good, f"sources.0.path=https://me:{LEAK}@host/x.jsonl", "sources.0.type=jsonl")
    assert "override 'sources.0.path=https://host/x.jsonl'" in said
    complaint(good, f"sources.0.options.secret.deeper={LEAK}")
    load(good, ["sources.0.options.secret=$S3_SECRET"])


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("run.dir", f"s3://AKIA:{LEAK}@bucket/run"),
        ("run.dir", f"s3://AKIA:a/b+{LEAK}@bucket/run"),
        ("model.path", f"https://me:{LEAK}@host/model"),
        ("sources.0.path", f"kafka://me:{LEAK}@broker:9092/topic"),
        ("sources.0.path", f"https://{LEAK}@github.com/x.jsonl"),
        ("sources.0.path", f"https://host/x.jsonl?a=b&X-Amz-Signature={LEAK}"),
        ("sources.0.path", f"abfs://c@account.dfs.core.windows.net/x?sv=2024&sig={LEAK}"),
        ("sources.0.options.proxy", f"http://me:{LEAK}@proxy:8080"),
        ("tasks.coin.heldout.path", f"https://me:{LEAK}@host/x.jsonl"),
        ("ray.address", f"ray://me:{LEAK}@head:10001"),
    ],
)
def test_an_address_with_a_login_is_refused(tmp_path: Path, key: str, address: str) -> None:
    more = ["run.weights_dir=/w"] if key == "run.dir" else []
    assert f"{key}: holds a login or a signature" in complaint(write(tmp_path), f"{key}={address}", *more)


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/prefix/a@b.jsonl",
        "http://minio:9000/bucket/a@2x.jsonl",
        "kafka://h1:9092,h2:9092/topic",
        "abfs://container@account.dfs.core.windows.net/x",
        "sftp://me@host/x.jsonl",
        "https://host/x.jsonl?version=3&page=2",
        "/data/me:secret@home/x.jsonl",
        "Write to https://me:pass@host/ when you are done",
    ],
)
def test_what_is_no_login_is_left_alone(address: str) -> None:
    assert without_login(address) == address


SECRET = [
    "sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "sasl.jaas.config",
    "AWS_SECRET_ACCESS_KEY", "secret_access_key", "secretAccessKey", "AWS_SESSION_TOKEN", "token", "secret",
    "account_key", "accountKey", "azure_storage_account_key", "sas_token", "connection_string", "client_secret",
    "api_key", "apikey", "bearer_token", "passphrase", "password", "google_service_account_key",
]  # fmt: skip
NO_SECRET = [
    "key", "AWS_ACCESS_KEY_ID", "sasl.username", "sasl.mechanism", "security.protocol", "ssl.keystore.location",
    "ssl.key.location", "ssl.ca.pem", "sasl.oauthbearer.token.endpoint.url", "token_url", "endpoint_url", "anon",
    "region", "request_signature_version", "password_file", "client.id", "group.id", "keyboard", "tokenizer",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "secret"), [*((name, True) for name in SECRET), *((name, False) for name in NO_SECRET)]
)
def test_a_secret_is_known_by_its_name(name: str, secret: bool) -> None:
    assert is_secret(("sources", 0, "options", name)) is secret
    literal = {"sources": [{"options": {name: LEAK}}]}
    assert bool(list(literal_secrets(literal))) is secret
    assert (LEAK not in json.dumps(masked(literal))) is secret
    assert not list(literal_secrets({"sources": [{"options": {name: "$NAME"}}]}))


@pytest.mark.parametrize("value", ["anon", "", "true", None, True])
def test_what_stands_for_no_secret_is_taken(value: object) -> None:
    assert not list(literal_secrets({"sources": [{"options": {"token": value}}]}))


def begun(tmp_path: Path, secret: str) -> dict[str, object]:
    """A run's configuration as its ledger holds it; one of an earlier version may hold a literal."""
    config = json.loads(load(write(tmp_path)).model_dump_json())
    config["sources"][0]["options"]["sasl.password"] = secret
    config["sources"][0]["path"] = f"kafka://me:{secret}@broker:9092/topic"
    Config.model_validate_json(json.dumps(config))
    return config


def test_a_secret_that_is_changed_makes_no_other_run_and_is_not_shown(tmp_path: Path) -> None:
    old, new = begun(tmp_path, LEAK), begun(tmp_path, "$KAFKA_PASSWORD")
    assert difference(old, new) == []
    more = begun(tmp_path, LEAK)
    more["sources"] *= 2  # type: ignore[operator]
    (said,) = difference(new, more)
    assert LEAK not in said
    assert MASK in said
