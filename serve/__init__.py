"""The image server: settings, schemas, limits, keys, engine, application, playground, metrics; Ray Serve runs it."""
