"""The Ray actor around a coordinator: whose turn it is, and what its core cannot know of processes."""
