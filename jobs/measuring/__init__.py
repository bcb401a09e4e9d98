"""What `python -m jobs.bench` measures: `rows` is the table of all rows, `alternate` how each is measured and judged.

`setting` is what they share, `machine` how large, busy and full this machine is. `training`, `profile`, `drawing`,
`served`, `reading`, `spread`, `scoring`, `growth` and `starting` hold one function a row; `bare`, `published` and
`pool` are peers, `probe` a process of its own. `report` is the tables and charts.
"""
