"""`compare`: methods on networks and data sets, in a table with the standard errors over seeds.

`command` is the verb. `settings` reads the flagfiles of methods, networks and data sets, `rows` lists the runs,
`completion` trains and predicts those that are missing, in a `child` of the process, `columns` declares what a table
shows, `collect` reads the run directories, `tables` writes compare.md, `bnn_hvd.plots.comparison` draws.
"""
