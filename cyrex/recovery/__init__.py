"""Work that cannot go on: dead ends, dead letters, unreachable blobs; and the overview."""
