"""Networks: functions of weights and x, each written once. They are independent of ranks and methods."""
