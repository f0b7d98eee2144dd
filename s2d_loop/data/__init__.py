"""The paper's data sets, each made or converted by `s2d data NAME`.

A module a set says how its rows come to be; `registry` names them, `folder` writes and `check` reads back.
Nothing in a run imports this package: a run reads the files that it left.
"""
