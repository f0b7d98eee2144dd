"""What people see of a run: progress while it runs, its state, its samples, and its page.

Everything here reads; nothing decides.  `view` turns the ledger's commits into figures, and the
others show those figures: `progress` and `status` in a terminal, `show` for samples, `page` as HTML.
"""
