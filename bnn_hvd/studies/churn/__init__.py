"""`churn`: how much of a prediction is the seed's, the order's, the noise's and the hardware's.

`command` is the verb, `regimes` says which runs, `bnn_hvd.studies.runs` trains them, `predictions` adds what the
replicas predict, `collect` makes rows by `measures`, `bnn_hvd.plots.churn` draws, `ops` probes single operations.
"""
