"""Methods: how a posterior is approximated. One file each; they never import one another.

A method has three verbs, and one that looks into it:

    init(seed) -> State                      all mutable state, equal on every rank
    step(state, batch, controls) -> dict     changes only `state`; returns scalars to log
    draw(state, seeds_S2) -> forward         forward(x [N, ...]) -> logits [S, N, C], S posterior draws
    marginals(state) -> (loc_P, scale_B)     what is known of each weight
"""
