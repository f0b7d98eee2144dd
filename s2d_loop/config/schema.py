"""The JSON schema that editors complete and check configurations from.

`python -m s2d_loop.config.schema` writes it anew after a change of the tree.
"""

import json
from pathlib import Path

from s2d_loop.config.tree import Config
from s2d_loop.terminal import echo

PATH = Path(__file__).parents[1] / "schema.json"


def render() -> str:
    """The text of schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    echo(f"wrote {PATH}")
