"""Tasks: one file each says how to read an answer out of a reply, score it, and perturb an input."""
