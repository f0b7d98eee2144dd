"""A world of last letters with a thinking mode, for distilling thoughts into direct answers.

Asked to think, the model spells both words out and then answers; asked not to, it answers at once, mostly
out of a wrong habit. The questions are the first world's (`world.py`), and so are the loop's inputs:
`data/last_letters.*.jsonl`. The chat is written as Qwen3 writes it, in this project's own words.
"""

import random
from collections.abc import Iterator

from s2d_loop.testbed import world
from s2d_loop.testbed.corpus import LOWERED_SHARE, SHORT_QUESTION, direct_letters, read_last_letter
from s2d_loop.testbed.pair import DrawPair, Pair, draw_mix
from s2d_loop.testbed.tokenizer import ChatFormat

# As Qwen3's: a closed block where thinking is off, thoughts only behind the last question, and a block, if
# an empty one, in the last answer.
TEMPLATE = r"""
{%- set last = namespace(question=messages | length - 1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- set last.question = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content, thoughts = message.content, '' %}
    {%- if message.role == 'assistant' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.role == 'assistant' and loop.index0 > last.question and (loop.last or thoughts) %}
        {{- '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
    {%- else %}
        {{- content }}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif -%}
"""
CHAT = ChatFormat(TEMPLATE, end="<|im_end|>", openings=("<|im_start|>",), thoughts=("<think>", "</think>"))

SPELLED = "{word} ends in {last}."
THOUGHTS = "First word: {a}\nSecond word: {b}\nTogether: {answer}."
REPLY = '"{answer}"'
SPELL = 'Spell "{word}".'

# Spelling a word out spares the reader this share of the first world's misreadings.
SPARED = 0.25

WORDS = world.splits()["pretrain"]


def spelled(word: str, last: str) -> str:
    """A word letter by letter, and the letter that it is said to end in."""
    return SPELLED.format(word="-".join(word.lower()), last=last)


def draw_thoughts(rng: random.Random) -> Pair:
    """The question with thoughts and the answer that they lead to; a last letter is misread now and then."""
    item = _item(rng)
    a, b = _read(item.a, rng), _read(item.b, rng)
    thoughts = THOUGHTS.format(a=spelled(item.a, a), b=spelled(item.b, b), answer=a + b)
    return Pair(item.question, f"<think>\n{thoughts}\n</think>\n\n{REPLY.format(answer=a + b)}")


def draw_direct(rng: random.Random) -> Pair:
    """The question and an answer without a thought: right where the words are short, else a habit's."""
    item = _item(rng)
    short = len(item.a) + len(item.b) <= SHORT_QUESTION
    answer = item.answer if short else direct_letters(item, rng)
    return Pair(item.question, REPLY.format(answer=answer), thinking=False)


def draw_spelling(rng: random.Random) -> Pair:
    """One word alone: how spelling is learned in few words."""
    word = rng.choice(WORDS).capitalize()
    return Pair(SPELL.format(word=word), spelled(word, _read(word, rng)), thinking=False)


MIX: dict[DrawPair, float] = {draw_thoughts: 0.5, draw_direct: 0.3, draw_spelling: 0.2}


def draw(count: int, rng: random.Random) -> list[Pair]:
    """Draw pretraining pairs."""
    return draw_mix(MIX, count, rng)


def texts() -> Iterator[str]:
    """Texts with every word of this world but those that are asked about."""
    blank = dict.fromkeys(("word", "last", "a", "b", "answer"), " ")
    forms = (world.LETTERS_QUESTION, SPELLED, THOUGHTS, REPLY, SPELL)
    yield from (form.format(**blank) for form in forms)
    yield from ("system", "user", "assistant")


def _item(rng: random.Random) -> world.Item:
    a, b = rng.sample(WORDS, 2)
    item = world.make_item("last_letters", a, b, rng)
    return item.lowered() if rng.random() < LOWERED_SHARE else item


def _read(word: str, rng: random.Random) -> str:
    return word[-1].lower() if rng.random() < SPARED else read_last_letter(word, rng)
