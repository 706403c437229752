"""What jobs would need and take: memory, GPUs and hours, told before anything is loaded."""
