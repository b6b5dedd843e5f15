"""Speed and quality, each measured beside a rival in the same run."""
