"""`churn`: how often predictions differ between replicas of a training that differ in a seed, or in the hardware.

`command` is the verb. `regimes` lists the runs, `bnn_hvd.studies.runs` trains them, `predictions` makes their
predictions, `collect` makes rows of them by `measures`, `bnn_hvd.plots.churn` draws. `ops` probes single operations.
"""
