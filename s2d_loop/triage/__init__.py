"""System 2 where it is needed: which claimed inputs it answers, and what the others cost.

`calibration` says which inputs System 1 already answers as System 2 would, from inputs that both
answered; `audit` measures that each round; `spend` spreads a budget over tasks; `standing` reads from
the ledger what past rounds tell; `routes` puts it together.  `stages.triage` is the stage.
"""
