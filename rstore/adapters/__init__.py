"""The backends: each is a folder, or a module, that keeps the promises of the port."""
