"""Models that are files of another library: estimators, boosters, Hugging Face's, people's own."""
