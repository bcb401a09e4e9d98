"""What `python -m jobs.chaos` does: `experiments` is the table of all, `record` their results, `table` how they read.

`setting` is what they share, `lives` the processes that are started to be killed. One module holds each experiment:
`resume`, `saving`, `bits`, `mutants` (with `hostile`), `nonfinite`, `storage`, `elastic`, `scores`, `workers`, `soak`.
"""
