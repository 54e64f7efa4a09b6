"""What lies where a source points: files, their parts, how they are packed and in what encoding."""
