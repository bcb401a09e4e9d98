"""The image server: lands with the serving issue (schemas, limits, batching, playground, metrics)."""
