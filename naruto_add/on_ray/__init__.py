"""The library rooms that import Ray: data, train, tune."""
