"""The JSON bodies of requests and answers, a module a domain."""
