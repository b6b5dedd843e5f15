"""The routes, a module a domain."""
