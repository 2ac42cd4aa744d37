"""Networks: functions of weights and x, each written once. They know nothing of ranks or methods."""
