"""The JSON bodies of requests and answers, one module per domain of `web/api/`."""
