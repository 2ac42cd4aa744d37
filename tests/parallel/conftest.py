"""The marker of the tests that start two ranks: `-m "not parallel"` leaves them out."""


def pytest_configure(config):
    config.addinivalue_line("markers", "parallel: starts two ranks through horovodrun")
