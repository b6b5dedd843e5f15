"""Resources of this machine: child processes, work directories, writable folders."""
