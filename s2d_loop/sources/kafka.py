"""Kafka topics: a partition is a shard, an offset a row, and JSON messages are read like lines of jsonl.

Offsets are kept in the run's cursor alone: no consumer group is joined, and nothing is committed to the
broker.  A position is bound to the topic's id and to the message before it, so a topic that was made anew
under the same name is noticed.
"""

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from s2d_loop.errors import BadInputError, UnreachableError
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.jsonl import parse_line

ANSWER_S = 20.0
"""How long a broker may take for one answer."""
_BY_HAND = {
    "group.id": "s2d",  # a name only: partitions are assigned by hand
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 50,
}


class Topic:
    """A topic, and what this process has seen of it.

    A consumer lives as long as one pass over a partition: a long-lived one was seen to take the process
    down (librdkafka 2.16) when its topic was deleted and made anew.
    """

    def __init__(self, servers: str, name: str, options: Mapping[str, str], where: str) -> None:
        self._kafka = _library(where)
        self.name, self._where = name, where
        self._client = {"log_level": 0, **options, "bootstrap.servers": servers}
        self._admin = self._kafka.admin.AdminClient(self._client)
        self.made_here: dict[int, int] = {}
        """The offset that this process read each partition up to."""

    def partitions(self) -> list[int]:
        found = self._answered(lambda: self._admin.list_topics(self.name, timeout=ANSWER_S))
        topic = found.topics[self.name]
        if topic.error is not None:
            raise BadInputError(f"{self._where}: no topic {self.name!r}: {topic.error.str()}")
        return sorted(topic.partitions)

    def id(self) -> str:
        """The id that the topic got when it was made; the same for all where the broker is too old."""
        topics = self._kafka.TopicCollection([self.name])
        asked = self._admin.describe_topics(topics, request_timeout=ANSWER_S)
        return str(self._answered(lambda: asked[self.name].result(ANSWER_S + 1).topic_id))

    def ends(self, partitions: Sequence[int], *, first: bool = False) -> list[int]:
        """Where each partition ends (or begins) now, by the broker's own account."""
        spec = self._kafka.admin.OffsetSpec
        at = {
            self._kafka.TopicPartition(self.name, number): spec.earliest() if first else spec.latest()
            for number in partitions
        }
        asked = self._admin.list_offsets(at, request_timeout=ANSWER_S).values()
        found = self._answered(lambda: [each.result(ANSWER_S + 1).offset for each in asked])
        return [int(each) for each in found]

    def messages(self, partition: int, start: int | None) -> Iterator[Any]:
        """The messages there are now from an offset (None: the oldest) on.

        Raises:
            LookupError: the broker has no such offset.
            UnreachableError: it didn't answer in time.
        """
        kafka = self._kafka
        with contextlib.closing(kafka.Consumer(self._client | _BY_HAND)) as consumer:
            offset = kafka.OFFSET_BEGINNING if start is None else start
            consumer.assign([kafka.TopicPartition(self.name, partition, offset)])
            while True:
                message = consumer.poll(ANSWER_S)
                if message is None:
                    raise UnreachableError(f"partition {partition}: no answer within {ANSWER_S:g} s")
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == kafka.KafkaError._PARTITION_EOF:
                    return
                elif error.code() == kafka.KafkaError._AUTO_OFFSET_RESET:
                    raise LookupError(error.str())
                else:
                    raise UnreachableError(f"partition {partition}: {error.str()}")

    def message(self, partition: int, offset: int) -> Any:
        """The first message from an offset on; None if there is none."""
        with contextlib.closing(self.messages(partition, offset)) as found:  # type: ignore[type-var]
            return next(found, None)

    def _answered(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except TimeoutError as error:
            raise UnreachableError(f"no answer within {ANSWER_S:g} s") from error
        except self._kafka.KafkaException as error:
            raise UnreachableError(str(error.args[0].str())) from error


class Partition:
    """One partition.  Its rows are numbered by offset."""

    grows = True

    def __init__(self, topic: Topic, number: int, topic_id: str, end: int) -> None:
        self.name = f"{topic.name}-{number}"
        self.stamp: Hashable | None = (topic_id, end)
        self._topic, self._number, self._id = topic, number, topic_id
        self._digests: dict[int, str] = {}

    def columns(self) -> Sequence[str] | None:
        return None

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        try:
            for message in self._topic.messages(self._number, start.row if start.digest else None):
                row = _row(message)
                # A row may be read only to see that there is another: its place is not where reading stops.
                self._digests = {**dict([*self._digests.items()][-1:]), row.end: _digest(message)}
                yield row
        except LookupError as error:
            raise BadInputError(
                f"{self.name}: offset {start.row}, which comes next, is not there ({error}): messages were "
                "deleted unread. Start a source of another `name` to take what is there now."
            ) from error

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:  # noqa: ARG002
        self._topic.made_here[self._number] = row.end
        return self._digests[row.end], self._id

    def changed(self, position: Position, columns: Sequence[str]) -> str:  # noqa: ARG002
        if self._id and position.state and self._id != position.state:
            return f"was deleted and made anew after its messages up to offset {position.row - 1} were read"
        if self._topic.made_here.get(self._number) == position.row:
            return ""
        if self._first() > position.row:
            return f"lost messages from offset {position.row} on before they were read (its retention is too short)"
        try:
            before = self._topic.message(self._number, position.row - 1)
        except LookupError:
            before = None
            if self._first() < position.row:
                return f"is shorter than when its messages up to offset {position.row - 1} were read"
        # Retention or compaction may have removed the message before: then its id must do.
        if before is not None and before.offset() == position.row - 1 and _digest(before) != position.digest:
            return f"has other messages than those up to offset {position.row - 1} that were read"
        return ""

    def _first(self) -> int:
        return self._topic.ends([self._number], first=True)[0]


def lister(path: str, options: Mapping[str, str], *, where: str) -> Lister:
    """A function that lists a topic's partitions, the one that was read least first.

    Args:
        path: kafka://HOST:PORT[,HOST:PORT]/TOPIC
    """
    servers, _, name = path.removeprefix("kafka://").partition("/")
    if not path.startswith("kafka://") or not servers or not name:
        raise BadInputError(f"{where}: write the path as kafka://HOST:PORT/TOPIC")
    topic = Topic(servers, name, options, where)

    def partitions(begun: Mapping[str, Mapping[str, Any]]) -> list[Partition]:
        topic_id = topic.id()
        numbers = topic.partitions()
        ends = topic.ends(numbers)
        found = [Partition(topic, number, topic_id, end) for number, end in zip(numbers, ends, strict=True)]
        # Or a busy partition would be read for ever, and the others never.
        return sorted(found, key=lambda each: (begun.get(each.name, {"row": 0})["row"], each.name))

    return partitions


def _row(message: Any) -> Row:
    value = message.value()
    number = message.offset()
    if value is None:
        return Row(number, number + 1, None, "a message without a value (a tombstone)")
    return parse_line(number, number + 1, value)


def _digest(message: Any) -> str:
    parts = (str(message.offset()).encode(), message.key() or b"", message.value() or b"")
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def _library(where: str) -> Any:
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ImportError as error:
        raise BadInputError(
            f"{where}: reading Kafka needs confluent-kafka: pip install 's2d-loop[kafka]'"
        ) from error
    return confluent_kafka
