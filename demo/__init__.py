"""The main job of three companies, over HTTP, beside a running stack."""
