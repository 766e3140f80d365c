"""The tests mirror the tree: `loyalty/stamps.py` is proved by `tests/loyalty/test_stamps.py`."""
