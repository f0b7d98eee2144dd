"""A real Ray of this machine, as commands start it: what it listens on, and who can enter its folder."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, stat, sys
import psutil
import ray
from s2d_loop import ray_session
from s2d_loop.config import load

ray_session.local_cpus = lambda config: 1
with ray_session.ray_session(load(sys.argv[1])):
    worker = ray.get(ray.remote(lambda: os.environ["RAY_AUTH_TOKEN_PATH"]).remote())
    mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [(each.name(), c.laddr.ip) for each in mine for c in each.net_connections() if c.status == "LISTEN"]
    folder = ray_session.private_folder()
    paths = [folder, *folder.rglob("token-*")]
    print(json.dumps({
        "worker": worker,
        "listening": listening,
        "modes": [oct(stat.S_IMODE(path.stat().st_mode)) for path in paths],
        "mode": os.environ["RAY_AUTH_MODE"],
        "sockets": [str(path) for path in folder.rglob("sockets/*")],
        "folder": str(folder),
    }))
"""


def test_a_local_ray_is_for_this_user_only() -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own may be too deep for a socket
    home = folder / "home"
    home.mkdir()
    environment = {**os.environ, "RAY_TMPDIR": str(folder), "HOME": str(home)}
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(ROOT / "configs/quickstart.yaml")],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["mode"] == "token"
        assert said["worker"].startswith(said["folder"]), "workers of this Ray find its token"
        assert {name for name, _ in said["listening"]} >= {"gcs_server", "raylet"}
        assert {address for _, address in said["listening"]} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert said["modes"] == ["0o700", "0o600"]
        assert said["sockets"], "they are in the folder"
        assert not list(home.iterdir()), "no token is left in the home"
    finally:
        shutil.rmtree(folder)
