"""Serving: the app (schemas, limits, batching, playground, metrics) lands with the serving issue; nothing is here yet."""
