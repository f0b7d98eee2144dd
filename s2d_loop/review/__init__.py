"""`s2d review`: people say which answers are right, blind, and the gate listens.

`audit` and `items` find what to show, `sitting` leads one rater through it, `server` and `page.html` are the
page, `summary` says what came of it.  `stages.evaluate` reads the labels and `audit`.
"""
