"""What a run keeps and leaves behind when it is interrupted, killed, or goes on for long; each with the real tool."""
