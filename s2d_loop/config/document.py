"""YAML as plain data that remembers the line of every key.

Only data can come out: the node tree is read here, scalar by scalar, and no tag builds an object.
Scalars mean what YAML 1.2 and editors say: `1e-5` is a number, `no` and `2026-11-23` are text.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from s2d_loop.config.problems import Key, Place, Problem, dotted, error
from s2d_loop.errors import BadInputError

_TAG = "tag:yaml.org,2002:"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
NUMBER = re.compile(
    rf"^[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe parser with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}


_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile("^<<$"), ["<"])
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile("^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    f"{_TAG}bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    f"{_TAG}int", re.compile(rf"^(?:[-+]?{_DIGITS}|0x[0-9a-fA-F]+|0o[0-7]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(f"{_TAG}float", NUMBER, list("-+.0123456789"))


@dataclass
class Document:
    """What a file and its overrides say, where they say it, and what is wrong so far."""

    subject: str
    data: Any
    places: dict[Key, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, key: Key) -> Place:
        """The place of a key, or of the section that lacks it."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return Place(0, self.subject)

    def report(self, key: Key, text: str) -> None:
        self.problems.append(Problem(self.place(key), dotted(key), text))


def read(path: str) -> Document:
    """The document in a file; BadInputError if there is no mapping to be had from it."""
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as err:
        raise error(path, [_syntax(path, err)]) from None
    if node is None:
        raise BadInputError(f"{path}: the file is empty: start from one in configs/, such as quickstart.yaml")
    document = Document(path, None)
    document.data = _Builder(document).build(node, ())
    if not isinstance(document.data, dict):
        raise BadInputError(
            f"{path}:{node.start_mark.line + 1}: wanted sections such as `run:` and `model:`, "
            f"found {'a list' if isinstance(document.data, list) else 'a single value'}"
        )
    return document


def value(text: str) -> Any:
    """A single value, as an override gives it; ValueError says what is wrong with it."""
    document = Document("", None)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as err:
        raise ValueError(_syntax("", err).text) from None
    built = None if node is None else _Builder(document).build(node, ())
    if document.problems:
        raise ValueError(document.problems[0].text)
    return built


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file{_nearest_file(Path(path))}") from None
    except IsADirectoryError:
        raise BadInputError(f"{path}: this is a directory: name a YAML file in it") from None
    except OSError as err:
        raise BadInputError(f"{path}: can't be read ({err.strerror}): check its permissions") from None
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise BadInputError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8") from None


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a directory {path.parent})"
    names = {each.name for each in path.parent.glob("*.y*ml")}
    if f"{path.name}.yaml" in names:
        return f"; did you mean {path}.yaml?"
    close = difflib.get_close_matches(path.name, sorted(names), n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _syntax(path: str, err: yaml.YAMLError) -> Problem:
    mark = getattr(err, "problem_mark", None)
    line = mark.line + 1 if mark else 1
    said = getattr(err, "problem", None) or getattr(err, "reason", None) or str(err)
    context = getattr(err, "context", None)
    if "'\\t'" in said:
        text = "a tab: YAML is indented with spaces only"
    elif context == "expected a single document in the stream":
        text = "a second document starts here: remove the `---`, a configuration is one document"
    else:
        text = f"not valid YAML ({said}): check indentation, colons and quotes here and one line above"
    return Problem(Place(line, f"{path}:{line}"), "", text)


class _Builder:
    """Plain data from nodes; notes the line of every key, and what has no place in a configuration."""

    def __init__(self, document: Document):
        self._document = document
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, key: Key) -> Any:
        self._document.places.setdefault(key, self._line(node))
        if any(node is outer for outer in self._open):
            self._document.report(key, "an alias to something that holds it: write the value out")
            return None
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*key, number)) for number, item in enumerate(node.value)]
            return self._scalar(node, key)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for name_node, value_node in node.value:
            if name_node.tag == f"{_TAG}merge":
                merged.append(value_node)
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                self._document.problems.append(
                    Problem(self._line(name_node), dotted(key), "a key must be plain text")
                )
                continue
            name, at = name_node.value, (*key, name_node.value)
            if name in own:
                first = self._document.places[at].text
                text = f"written twice (first at {first}): keep one of them"
                self._document.problems.append(Problem(self._line(name_node), dotted(at), text))
                continue
            self._document.places[at] = self._line(name_node)
            own[name] = self.build(value_node, at)
        inherited: dict[str, Any] = {}
        for value_node in merged:
            for part in self._merged(value_node, key):
                inherited = {**part, **inherited}
        return {**{name: each for name, each in inherited.items() if name not in own}, **own}

    def _merged(self, node: yaml.Node, key: Key) -> Iterator[dict[str, Any]]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            built = self.build(part, key)
            if isinstance(built, dict):
                yield built
            else:
                self._document.report(key, "`<<:` takes a section, such as *name")

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        text = str(node.value)
        tag = node.tag.removeprefix(_TAG)
        try:
            if tag == "null":
                return None
            if tag == "bool":
                return {"true": True, "false": False}[text.lower()]
            if tag == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if tag == "float":
                return float(re.sub(r"\.(?=[iInN])", "", text))
        except (ValueError, KeyError):
            self._document.report(key, f"{text[:40]!r} can't be read as a {tag}")
            return None
        if tag != "str" and tag != "merge":
            self._document.report(key, f"the tag {node.tag} has no place here: write a plain value")
            return None
        return text

    def _line(self, node: yaml.Node) -> Place:
        line = node.start_mark.line + 1
        return Place(line, f"{self._document.subject}:{line}")
