"""How good, how well calibrated and how uncertain predictions are, and whether chains have converged. numpy only."""
