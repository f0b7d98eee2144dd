"""`s2d submit`: the run that `s2d run` would start here, as a job on a Ray cluster.

What goes to the cluster is a folder with the resolved configuration and, from a source checkout, this
package's code; the job runs `s2d run` on it beside the cluster's head.  Ray runs a job once and knows
nothing of runs: state is in the ledger under run.dir, so a run may be submitted again at any time, to
another cluster too, and goes on where the last job stopped.

`submission` is the order of things; `check` looks at the configuration, `job` writes what is sent,
`cluster` speaks with Ray, `follow` stays with the job.
"""

from s2d_loop.submit.cluster import Cluster
from s2d_loop.submit.submission import Options, submit

__all__ = ["Cluster", "Options", "submit"]
