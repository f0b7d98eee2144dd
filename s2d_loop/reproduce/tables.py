"""The paper's tables by name."""

from s2d_loop.reproduce.of_cot import TABLE_3
from s2d_loop.reproduce.of_judge import JUDGE, TABLE_5
from s2d_loop.reproduce.of_rar import ABLATIONS, TABLE_1, TABLE_6
from s2d_loop.reproduce.of_s2a import TABLE_2

TABLES = {table.name: table for table in (TABLE_1, TABLE_2, TABLE_3, JUDGE, TABLE_5, TABLE_6, ABLATIONS)}
