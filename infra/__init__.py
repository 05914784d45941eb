"""What surrounds the stack: its local cloud, and later its training and operations."""
