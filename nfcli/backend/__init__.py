"""What the machine is to the rest: flags and memory, devices, compiled programs, oneDNN."""
