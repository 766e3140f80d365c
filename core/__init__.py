"""The ground any product could stand on: database, clock, words, ids, keys and logs."""
