"""Checks a run's promises from its root alone, sharing nothing with the loop but the formats.

What is read here is written down in docs/formats.md.  The package imports the standard library and
PyArrow only (and an fsspec driver where the root is a URI), so a mistake in the code that makes a run
can't hide itself in the code that checks it.  A root is a stranger's: nothing in it is believed before
it was checked, no path leaves it, and nothing is ever written.

`examine` runs every check in order: `chain` reads the ledger, `story` follows what it tells, `files`
compares the committed bytes, `rows` follows single rows through the stages in a database on disk, and
`weights`, `cursors` and `strays` do what their names say.
"""

from s2d_loop.doctor.examine import examine
from s2d_loop.doctor.findings import Checkup, Finding
from s2d_loop.doctor.root import NotThereError
from s2d_loop.doctor.show import as_json, as_text

__all__ = ["Checkup", "Finding", "NotThereError", "as_json", "as_text", "examine"]
