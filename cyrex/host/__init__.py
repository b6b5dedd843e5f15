"""What this machine gives a process: child processes, work directories, writable folders."""
