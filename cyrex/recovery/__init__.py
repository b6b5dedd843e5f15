"""How work ends that cannot go on: dead ends, dead letters, unreachable blobs, the overview."""
