"""Models of one sweep or several side by side: the leaderboard, its columns, ties and latency."""
