"""Methods: how a posterior is approximated. One file each; they never import one another.

A method is made from (network, likelihood, num_train, cluster, config) and has these verbs:

    init(seed) -> State                      all mutable state, equal on every rank
    step(state, batch, controls) -> dict     changes only `state`; returns scalars to log
    draw(state, draws) -> forward            forward(x [N, ...]) -> outputs [S, N, O], S posterior draws
    num_reduced() -> int                     numbers of a member that a rank hands to the all-reduces of a step
    num_draws(requested) -> int              how many draws there are to tell apart
    marginals(state) -> (loc_P, scale_B)     what is known of each weight

**Members.** A method also trains M settings of the network at once, as particles or as the members of an
ensemble. The only difference is an axis: seeds are [M, 2] instead of [2], and everything in the state has
the leading axis M, but for the step counter. `draw` is then given the members that were picked, one for
each draw: its state has a leading axis S. Methods therefore work on the last axis of theta [..., P].
"""
