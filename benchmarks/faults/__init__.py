"""What a run does when its processes are killed, stopped, starved of disk or asked to leave: on real ones.

`python -m benchmarks.faults` (see `__main__`) runs the cases of `cases`.  A case is a driver in a process of
its own (`driver`) that stops at a chosen place (`hold`) until the fault was done to it (`disturb`).  Then
the same command is run again, and what the run directory holds is compared with an undisturbed run's
(`compare`).
"""
